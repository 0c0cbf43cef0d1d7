"""Evaluation: items found or refused in sentences, systems scored alike, nothing lost, a page that stands alone."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.evaluations import QUICK, dull, halfway, make_pair, score
from tests.voices import RATE, noise, voice
from timbre_restore.apps.cli import main
from timbre_restore.audio import FloatArray, from_pcm, read_list, read_mono, resample, rms, to_pcm, write_audio
from timbre_restore.errors import CorpusError, SuppressorError
from timbre_restore.evaluation import (
    Evaluation,
    Failure,
    Item,
    ItemResult,
    SystemResult,
    as_json,
    difference,
    items_from_list,
    items_from_pairs,
    load_item,
    mean,
    missing,
    summary,
    summary_table,
    words,
    worse,
    write_page,
    write_report,
)
from timbre_restore.metrics import DEFAULT_SET, Metric, Score, item_gain, score_pair
from timbre_restore.suppressors import load_suppressor


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    for i in range(3):
        make_pair(folder, f"talk{i}", voice(1.5, seed=i))
    return folder


def test_pairs_are_matched_by_stem_and_sorted(pairs: Path) -> None:
    flac = read_mono(pairs / "clean" / "talk1.wav")
    (pairs / "clean" / "talk1.wav").unlink()
    write_audio(pairs / "clean" / "talk1.flac", flac, RATE)
    (pairs / "noisy" / "notes.txt").write_text("no sound")
    items = items_from_pairs(pairs)
    assert [item.stem for item in items] == ["talk0", "talk1", "talk2"]
    assert items[1].clean.suffix == ".flac" and items[1].noisy.suffix == ".wav"


def test_every_file_without_partner_is_named(pairs: Path) -> None:
    (pairs / "clean" / "talk0.wav").rename(pairs / "clean" / "other.wav")
    with pytest.raises(CorpusError, match=r"talk0\.wav: no file of that name in clean/.*other\.wav: no file"):
        items_from_pairs(pairs)


@pytest.mark.parametrize(
    ("samples", "rate", "says"),
    [(70_000, RATE, "talk1: noisy holds 72000 samples, clean 70000"), (72_000, 44_100, "talk1: noisy is at 48000 Hz")],
)
def test_unequal_pairs_are_named(pairs: Path, samples: int, rate: int, says: str) -> None:
    write_audio(pairs / "clean" / "talk1.wav", voice(1.5)[:samples], rate)
    with pytest.raises(CorpusError, match=says):
        items_from_pairs(pairs)


def test_what_can_not_be_pairs_is_said(tmp_path: Path, pairs: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder"):
        items_from_pairs(tmp_path / "absent")
    for side in ("noisy", "clean"):
        (tmp_path / "empty" / side).mkdir(parents=True)
    with pytest.raises(CorpusError, match="hold no sound file"):
        items_from_pairs(tmp_path / "empty")
    write_audio(pairs / "noisy" / "talk0.flac", voice(1.5), RATE)
    with pytest.raises(CorpusError, match="'talk0' occurs with several suffixes"):
        items_from_pairs(pairs)
    (pairs / "noisy" / "talk0.flac").unlink()
    (pairs / "clean" / "talk2.wav").write_bytes(b"not sound at all")
    with pytest.raises(CorpusError, match=r"talk2\.wav: can't be read as audio"):
        items_from_pairs(pairs)


def make_corpus(root: Path, count: int = 2) -> Path:
    lines = []
    for i in range(count):
        clean = voice(1, seed=i)
        noisy = np.concatenate([clean, np.zeros(1440, np.float32)]) + noise(1.03, level=0.01)
        write_audio(root / "noisy" / f"item{i}.wav", noisy.astype(np.float32), RATE)
        write_audio(root / "degraded" / f"item{i}.wav", dull(noisy)[:RATE], RATE)
        write_audio(root / "clean" / f"item{i}.wav", clean, RATE)
        lines.append(f"{root / 'degraded' / f'item{i}.wav'}|{root / 'clean' / f'item{i}.wav'}")
    (root / "val.txt").write_text("\n".join(lines) + "\n")
    return root / "val.txt"


def test_a_corpus_list_brings_its_own_suppressed_files_and_the_noisy_tail_is_cut(tmp_path: Path) -> None:
    items = items_from_list(make_corpus(tmp_path))
    audio = load_item(items[1])
    assert len(audio.noisy) == len(audio.clean) == RATE and audio.degraded is not None
    np.testing.assert_array_equal(audio.noisy, read_mono(tmp_path / "noisy" / "item1.wav")[:RATE])
    found = score(items, None, lambda degraded, noisy: degraded, metrics=QUICK)
    assert [item.stem for item in found.items] == ["item0", "item1"]
    assert mean(found, "degraded", "osr_hf") == mean(found, "restored", "osr_hf")


def test_bad_lines_of_a_list_are_numbered(tmp_path: Path) -> None:
    listed = make_corpus(tmp_path)
    good = listed.read_text().splitlines()
    listed.write_text("\n".join([good[0], "only one name", good[1].replace("item1", "gone")]))
    with pytest.raises(
        CorpusError, match=r"line 2: expected 'degraded_path\|clean_path'.*line 3: no such file: .*gone"
    ):
        items_from_list(listed)
    listed.write_text(f"{good[0]}\n{good[0]}\n")
    with pytest.raises(CorpusError, match="'item0' occurs more than once"):
        items_from_list(listed)
    listed.write_text("")
    with pytest.raises(CorpusError, match="is empty"):
        items_from_list(listed)
    with pytest.raises(CorpusError, match="can't be read"):
        items_from_list(tmp_path / "absent.txt")
    write_audio(tmp_path / "noisy" / "item0.wav", voice(1)[:40_000], RATE)
    with pytest.raises(CorpusError, match="holds 40000 samples"):
        load_item(Item("item0", *(tmp_path / s / "item0.wav" for s in ("noisy", "clean", "degraded"))))


def test_any_rate_becomes_48_khz_and_the_first_channel_counts(tmp_path: Path) -> None:
    clean = resample(voice(1), RATE, 44_100)
    for side in ("noisy", "clean"):
        write_audio(tmp_path / side / "a.wav", np.stack([clean, 0 * clean]), 44_100)
    audio = load_item(items_from_pairs(tmp_path)[0])
    assert len(audio.clean) == RATE and audio.native_rate_hz == 44_100
    assert np.corrcoef(audio.clean, voice(1))[0, 1] > 0.99


def test_every_system_is_scored_at_the_one_gain_of_its_item(pairs: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    items = items_from_pairs(pairs)
    found = score(
        items, dull, halfway, metrics=QUICK, extra_systems={"all": lambda n, d: n},
        progress=lambda *state: seen.append(state),
    )  # fmt: skip
    assert found.systems == ("noisy", "degraded", "restored", "all") and not found.failures
    assert seen == [(1, 3, "talk0"), (2, 3, "talk1"), (3, 3, "talk2")]
    noisy, clean = (read_mono(pairs / side / "talk1.wav") for side in ("noisy", "clean"))
    gain = np.float32(item_gain(clean))
    expected = score_pair(from_pcm(to_pcm(halfway(dull(noisy), noisy))) * gain, clean * gain, QUICK)
    assert found.items[1].systems["restored"].scores == expected
    for item in found.items:
        assert item.systems["all"].scores == item.systems["noisy"].scores
        osr = [item.value(name, "osr_hf") for name in ("noisy", "restored", "degraded")]
        assert osr[0] is not None and osr[1] is not None and osr[2] is not None
        assert osr[0] <= osr[1] < osr[2]


def test_our_own_delay_is_a_failure_and_stays_in_the_scores(pairs: Path) -> None:
    def late(degraded: FloatArray, noisy: FloatArray) -> FloatArray:
        return np.concatenate([np.zeros(480, np.float32), degraded[:-480]])

    found = score(items_from_pairs(pairs), dull, late, metrics=QUICK)
    assert [f.reason for f in found.failures] == ["lies 480 samples behind its input"] * 3
    assert {f.system for f in found.failures} == {"restored"}
    before, after = (mean(found, name, "sisdr") for name in ("degraded", "restored"))
    assert before is not None and after is not None and after < before - 10
    assert found.items[0].systems["restored"].lag_samples == 480


def test_what_leaves_next_to_nothing_has_no_lag(pairs: Path) -> None:
    """A filter's tail lies somewhere; an output that lies elsewhere is told so by the side on which it lies."""

    def tail(noisy: FloatArray) -> FloatArray:
        return np.float32(0.003) * np.roll(noisy, 30)

    def early(degraded: FloatArray, noisy: FloatArray) -> FloatArray:
        return np.roll(degraded, -37)

    found = score(items_from_pairs(pairs), tail, early, metrics=QUICK)
    assert [f.reason for f in found.failures] == ["lies 37 samples ahead of its input"] * 3
    item = found.items[0]
    assert item.systems["degraded"].lag_samples is None and item.value("degraded", "osr") is not None


@pytest.mark.parametrize("lag", [480, -37])
def test_a_foreign_delay_is_recorded_and_taken_out(pairs: Path, lag: int) -> None:
    def foreign(noisy: FloatArray, degraded: FloatArray) -> FloatArray:
        return np.roll(degraded, lag)

    found = score(items_from_pairs(pairs), dull, halfway, metrics=QUICK, extra_systems={"foreign": foreign})
    assert not found.failures
    item = found.items[0]
    assert item.systems["foreign"].lag_samples == lag
    aligned, original = item.value("foreign", "sisdr"), item.value("degraded", "sisdr")
    assert aligned == pytest.approx(original, abs=2.0)  # the samples beyond the end are lost


def test_a_foreign_output_that_is_inverted_or_keeps_what_was_lost_stays_where_it_is(pairs: Path) -> None:
    """Its lag is sought behind what it heard, with either sign: not behind what another suppressor left."""
    lost = noise(5.0, level=0.001, seed=9)
    items = items_from_pairs(pairs)
    foreign = {"inverted": lambda noisy, _degraded: -noisy, "kept": lambda noisy, _degraded: noisy}
    found = score(items, lambda noisy: lost[: len(noisy)], halfway, metrics=QUICK, extra_systems=foreign)
    for item in found.items:
        assert item.systems["inverted"].lag_samples == item.systems["kept"].lag_samples == 0
        assert item.value("inverted", "sisdr") == pytest.approx(item.value("kept", "sisdr"), abs=1e-3)


@pytest.mark.parametrize("cut_hz", [60, 100])
def test_hum_moves_no_output_that_was_cleaned_of_it(tmp_path: Path, cut_hz: int) -> None:
    """A filter turns what is near its edge: there waves lie elsewhere, by hundreds of samples; the voice does not."""
    seconds = np.arange(int(1.5 * RATE)) / RATE
    clean = voice(1.5, seed=3)
    hum = (2.5 * rms(clean) * np.sin(2 * np.pi * 100 * seconds)).astype(np.float32)  # 5 dB louder
    for side, sound in (("clean", clean), ("noisy", clean + hum)):
        write_audio(tmp_path / side / "a.wav", sound, RATE)

    def high_passed(noisy: FloatArray, _degraded: FloatArray) -> FloatArray:
        turned = 1j * np.fft.rfftfreq(len(noisy), 1 / RATE) / cut_hz
        return np.fft.irfft(np.fft.rfft(noisy) * turned**2 / (turned**2 + 1.414 * turned + 1), len(noisy)).astype(
            np.float32
        )

    found = score(items_from_pairs(tmp_path), dull, halfway, metrics=QUICK, extra_systems={"theirs": high_passed})
    assert found.items[0].systems["theirs"].lag_samples == 0


def test_an_output_that_was_moved_is_said(pairs: Path) -> None:
    late = {"late": lambda noisy, _degraded: np.roll(noisy, 480), "ours": lambda noisy, _degraded: noisy}
    said = " ".join(words.unclaimed(score(items_from_pairs(pairs), dull, halfway, metrics=QUICK, extra_systems=late)))
    assert "3 outputs of late lay 480 samples behind their input" in said and "ours" not in said


def test_an_unusable_output_is_counted_with_its_reason(pairs: Path) -> None:
    def broken(degraded: FloatArray, noisy: FloatArray) -> FloatArray:
        return degraded[:-1] if len(calls) == 1 else degraded * np.float32(np.nan) if len(calls) == 2 else degraded

    calls: list[int] = []
    found = score(items_from_pairs(pairs), dull, lambda d, n: (calls.append(1), broken(d, n))[1], metrics=QUICK)
    assert found.failures == [
        Failure("talk0", "restored", "has the shape [71999] instead of [72000]"),
        Failure("talk1", "restored", "holds NaN or infinite samples"),
    ]
    assert found.items[0].value("restored", "osr") is None
    assert mean(found, "restored", "osr") == found.items[2].value("restored", "osr")
    assert missing(found, "restored", "osr") == {
        "the output has the shape [71999] instead of [72000]": 1,
        "the output holds NaN or infinite samples": 1,
    }
    assert worse(found, "restored").judged == 1


def test_a_suppressor_that_breaks_its_contract_ends_the_evaluation_in_a_sentence(pairs: Path) -> None:
    items = items_from_pairs(pairs)
    with pytest.raises(SuppressorError, match=r"talk0: .*has the shape \[71999\]"):
        score(items, lambda noisy: noisy[1:], halfway, metrics=QUICK)
    with pytest.raises(CorpusError, match="talk0: has no degraded file, and there is no suppressor"):
        score(items, None, halfway, metrics=QUICK)
    with pytest.raises(CorpusError, match="no item"):
        score([], dull, halfway)
    with pytest.raises(CorpusError, match="more than one item"):
        score([items[0], items[0]], dull, halfway)
    with pytest.raises(CorpusError, match="noisy: two systems can't share a name"):
        score(items, dull, halfway, extra_systems={"noisy": lambda n, d: n})


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    folder = tmp_path / "awkward"
    make_pair(folder, "normal", voice(1.5))
    make_pair(folder, "silent", np.zeros(RATE, np.float32))
    make_pair(folder, "short", voice(1)[20_000:24_800])
    make_pair(folder, "telephone", resample(voice(1.5), RATE, 16_000), rate=16_000)
    return folder


def test_silence_crumbs_and_low_rates_give_reasons_and_no_traceback(awkward: Path, tmp_path: Path) -> None:
    found = score(items_from_pairs(awkward), load_suppressor(), halfway)
    by_stem = {item.stem: item for item in found.items}
    assert not found.failures
    assert all(s.reason == "the reference is silent" for s in by_stem["silent"].systems["degraded"].scores.values()
               if s.reason and "pip install" not in s.reason)  # fmt: skip
    assert by_stem["silent"].value("noisy", "osr") is None and by_stem["short"].value("degraded", "osr") is not None
    assert by_stem["short"].value("degraded", "estoi") is None
    assert by_stem["telephone"].value("degraded", "osr_hf") is None
    assert by_stem["telephone"].value("degraded", "osr") is not None
    report = as_json(found)
    counted = report["not_available"]["noisy"]["osr_hf"]
    assert counted["the reference is silent"] == 1 and len(counted) == 2
    write_page(found, tmp_path / "page.html")


def test_the_report_has_the_agreed_layout_and_is_strict_json(pairs: Path, tmp_path: Path) -> None:
    found = score(items_from_pairs(pairs), dull, halfway, metrics=QUICK, extra_systems={"limit": lambda n, d: d})
    write_report(found, tmp_path / "report.json")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    report = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert set(report["systems"]) == {"noisy", "degraded", "restored", "limit"}
    for system in report["systems"].values():
        assert set(system) == {"mean", "items"} and set(system["items"]) == {"talk0", "talk1", "talk2"}
        for key in ("osr", "osr_hf", "resid", "resid_hf", "lsd", "sisdr"):
            values = [item[key] for item in system["items"].values()]
            assert system["mean"][key] == pytest.approx(np.mean(values), abs=1e-8)
    assert report["lag_samples"]["restored"] == {"talk0": 0, "talk1": 0, "talk2": 0}
    assert set(report["worse"]) == set(report["difference"]) == {"restored", "limit"}
    assert report["difference"]["limit"]["osr"] == {
        "mean": 0.0, "low": 0.0, "high": 0.0, "items": 3, "speakers": None,
    }  # fmt: skip
    assert report["failures"] == [] and report["item_count"] == 3


def made(values: dict[str, list[tuple[float | None, float | None]]]) -> Evaluation:
    """An evaluation with the given (degraded, restored) values per metric and item."""
    count = len(next(iter(values.values())))
    items = []
    for i in range(count):
        pairs = {key: column[i] for key, column in values.items()}
        sides = [{k: Score(p[side], None if p[side] is not None else "made up") for k, p in pairs.items()}
                 for side in (0, 1)]  # fmt: skip
        items.append(ItemResult(f"i{i}", 1.0, {"noisy": SystemResult(sides[0]), "degraded": SystemResult(sides[0]),
                                               "restored": SystemResult(sides[1])}))  # fmt: skip
    metrics = tuple(m for m in DEFAULT_SET if m.key in values)
    return Evaluation(metrics, ("noisy", "degraded", "restored"), tuple(items))


def test_worse_is_by_more_than_a_tenth_of_pesq_or_one_point_of_over_suppression() -> None:
    found = made({
        "pesq": [(2.0, 1.89), (2.0, 1.91), (2.0, 2.5), (None, 2.0), (None, None), (2.0, 1.5)],
        "osr": [(0.3, 0.3), (0.3, 0.309), (0.3, 0.311), (0.3, 0.2), (None, 0.4), (0.1, 0.5)],
    })  # fmt: skip
    judged = worse(found, "restored")
    assert judged.stems == ("i0", "i2", "i5") and (judged.by_pesq, judged.by_osr) == (2, 2)
    assert judged.judged == 5
    assert words.worse_sentence(found, "restored") == (
        "restored: 3 of 5 items got worse (2 by PESQ, 2 by over-suppression). PESQ is n/a for 1 of them."
    )


def test_the_interval_is_seeded_paired_and_shrinks_with_items() -> None:
    rng = np.random.default_rng(3)
    drawn = [(float(a), float(a + d)) for a, d in zip(rng.normal(0, 9, 400), rng.normal(0.5, 1, 400), strict=True)]
    many, few = made({"lsd": drawn}), made({"lsd": drawn[:25]})
    found, again = difference(many, "restored", "lsd"), difference(many, "restored", "lsd")
    wide = difference(few, "restored", "lsd")
    assert found is not None and found == again and wide is not None
    assert found.low is not None and found.high is not None and wide.low is not None and wide.high is not None
    # 400 differences of deviation 1: their mean has a deviation of 0.05. Unpaired levels (deviation 9) would give 0.6.
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.05, rel=0.15)
    assert found.low < 0.5 < found.high and wide.high - wide.low > 2.5 * (found.high - found.low)
    alone = difference(made({"lsd": drawn[:1]}), "restored", "lsd")
    assert alone is not None and (alone.low, alone.high, alone.items) == (None, None, 1)
    partly = difference(made({"lsd": [(1.0, 2.0), (None, 5.0), (1.0, 2.0), (2.0, 3.0)]}), "restored", "lsd")
    assert partly is not None and (partly.mean, partly.low, partly.high, partly.items) == (1.0, 1.0, 1.0, 3)


def test_the_sentence_claims_only_what_the_interval_holds() -> None:
    found = made({
        "osr": [(0.3, 0.1), (0.4, 0.2), (0.5, 0.3)],
        "resid": [(0.0, 0.018), (0.0, 0.02), (0.0, 0.022)],
        "pesq": [(2.0, 2.1), (2.0, 1.9), (2.0, 2.0)],
    })  # fmt: skip
    text = words.sentence(found).replace("\u00a0", " ")
    assert text == (
        "On these 3 items, restored against the suppressor alone (95 % interval). Better: over-suppression "
        "40.0 → 20.0 %; worse: residual noise 0.00 → 2.0 %; no clear difference: PESQ-WB (at 16 kHz) 2.00 → 2.00 MOS."
    )
    one = made({"osr": [(0.3, 0.1)]})
    assert "no difference is claimed" in words.sentence(one)


def test_the_console_shows_systems_side_by_side_with_what_qualifies_them(pairs: Path) -> None:
    found = score(
        items_from_pairs(pairs),
        dull,
        lambda d, n: np.roll(d, 48),
        metrics=QUICK,
        extra_systems={"[b]x": lambda n, d: n},
    )
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(summary_table(found))
    text = console.export_text()
    assert "Mean of 3 items" in text and "[b]x" in text and "An item counts as worse if" in text
    assert "restored: " in text and "lies 48 samples behind its input" in text
    osr = mean(found, "degraded", "osr")
    assert osr is not None and f"{100 * osr:.1f}" in text


@pytest.mark.shared
def test_a_real_voice_goes_the_whole_way(shared_data: Path, tmp_path: Path) -> None:
    # Of a speaker with upper octaves: the first one's end at 8 kHz, and nothing can be lost above.
    clean = read_mono(sorted((shared_data / "speech" / "tuxpaint_be").glob("*.flac"))[0])[: 4 * RATE]
    added = read_mono(sorted((shared_data / "noise").glob("*.flac"))[0])[: 4 * RATE]
    added *= np.float32(0.3 * np.sqrt(np.mean(clean**2)) / np.sqrt(np.mean(added**2)))
    write_audio(tmp_path / "noisy" / "real.wav", clean + added, RATE)
    write_audio(tmp_path / "clean" / "real.wav", clean, RATE)
    found = score(items_from_pairs(tmp_path), load_suppressor(), halfway)
    assert not found.failures and found.items[0].systems["degraded"].lag_samples == 0
    for lower in ("osr", "osr_hf"):
        a, b, c = (found.items[0].value(name, lower) for name in ("noisy", "restored", "degraded"))
        assert a is not None and b is not None and c is not None and a <= b < c
    assert as_json(found)["systems"]["restored"]["mean"]["resid"] < 0.2


@pytest.mark.parametrize("text", ["{0}\n\n{0}\n", " \n", "{0}|x\n", "|{0}\n", "a|\n"])
def test_every_reader_of_a_list_refuses_the_same_lines(tmp_path: Path, text: str) -> None:
    good = make_corpus(tmp_path, 1).read_text().strip()
    (tmp_path / "train.txt").write_text(text.format(good))
    line = 2 if "\n\n" in text else 1
    said = rf"line {line}: expected 'degraded_path\|clean_path'"
    for reader in (items_from_list, read_list):
        with pytest.raises(CorpusError, match=said):
            reader(tmp_path / "train.txt")


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_place_that_can_not_be_written_is_said_before_scoring(
    option: str, pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def scored(*_: object, **__: object) -> None:
        raise AssertionError("scored before the target was looked at")

    monkeypatch.setattr("timbre_restore.evaluation.evaluate", scored)
    monkeypatch.setattr("timbre_restore.runtime.Restorer.load", scored)
    (pairs / "file").touch()
    places = [
        (pairs / "file" / "out", "folder can't be created"),
        (pairs, "is a folder"),
        ("/dev/null", "is a pipe or a"),
    ]
    for target, said in places:
        assert main(["evaluate", "--pairs", str(pairs), option, str(target)]) == 2
        assert said in capsys.readouterr().err


def test_a_signed_metric_is_better_when_it_comes_nearer_to_zero() -> None:
    level = Metric("level", "level", "dB", "zero", RATE, lambda estimate, reference: 0.0)
    values = {"noisy": 0.0, "degraded": -13.0, "restored": 4.0}
    systems = {name: SystemResult({"level": Score(value)}, 0) for name, value in values.items()}
    found = Evaluation((level,), tuple(values), tuple(ItemResult(stem, 1.0, systems) for stem in "abc"))
    difference = summary.difference(found, "restored", "level")
    assert difference is not None and difference.mean == -9.0
    assert words.verdict(level, difference) == "better"
