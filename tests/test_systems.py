"""What stands against the suppressor: limits, folders, models; kept scores, processes, the curve, breakdowns."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.evaluations import QUICK, Given, Made, dull, halfway, make_pair, score
from tests.voices import RATE, noise, voice
from timbre_restore.apps.cli import main
from timbre_restore.audio import FloatArray, from_pcm, is_16_bit, read_audio, read_mono, resample, to_pcm, write_audio
from timbre_restore.errors import CorpusError
from timbre_restore.evaluation import (
    Cache,
    Evaluation,
    Folder,
    Item,
    ItemResult,
    Limited,
    Point,
    Restoring,
    Suppressing,
    SystemResult,
    advantage,
    as_json,
    breakdowns,
    difference,
    evaluate,
    items_from_pairs,
    load_item,
    mean,
    mean_curve,
    summary,
    words,
)
from timbre_restore.evaluation.curve import LIMITS_DB, STRENGTHS
from timbre_restore.evaluation.results import DEGRADED, NOISY
from timbre_restore.evaluation.systems import Inputs, Run
from timbre_restore.evaluation.table import summary_table
from timbre_restore.metrics import Metric, Score, cell_rates, item_gain, si_sdr
from timbre_restore.metrics.sharing import NotComputableError, PassingError
from timbre_restore.runtime import Restorer
from timbre_restore.suppressors import SuppressorSettings, load_suppressor

FULL = SuppressorSettings()


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    for i in range(4):
        make_pair(folder, f"talk{i}", voice(1.5, seed=i))
    return folder


@pytest.mark.parametrize(("limit_db", "floor_db"), [(24.0, 100.0), (6.0, 100.0), (6.0, 12.0)])
def test_a_limit_is_what_the_suppressor_does_with_it(limit_db: float, floor_db: float) -> None:
    noisy = voice(1.5) + noise(1.5, level=0.03)
    degraded = load_suppressor(replace(FULL, attenuation_limit_db=floor_db))(noisy)
    limited = Limited(limit_db, floor_db).open()(Inputs(noisy, degraded))
    expected = load_suppressor(replace(FULL, attenuation_limit_db=limit_db))(noisy)
    assert np.abs(limited - expected).max() < 1e-5 < np.abs(degraded - expected).max()


def test_a_folder_stands_in_with_what_it_has_and_means_are_over_what_all_have(pairs: Path, tmp_path: Path) -> None:
    for stem in ("talk0", "talk2", "talk3"):
        write_audio(tmp_path / "theirs" / f"{stem}.wav", read_mono(pairs / "clean" / f"{stem}.wav"), RATE)
    systems = [Made("restored", halfway), Folder.of("theirs", tmp_path / "theirs", ["talk0"])]
    found = evaluate(items_from_pairs(pairs), Given(dull), systems, metrics=QUICK)
    assert not found.failures and mean(found, "theirs", "osr") == 0.0
    three = [item.value("restored", "osr") for item in found.items if item.stem != "talk1"]
    assert mean(found, "restored", "osr") == pytest.approx(np.mean(np.array(three, float)))
    assert any(
        "theirs has no output for 1 items (talk1); means are over the 3" in said for said in words.unclaimed(found)
    )


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("absent", "no such folder"),
        ("empty", "holds no sound file"),
        ("others", "none of its 1 files is named like an"),
        ("twice", "'a' occurs with several suffixes"),
    ],
)
def test_a_folder_that_is_none_is_said(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    for suffix in ("wav", "flac"):
        write_audio(tmp_path / "twice" / f"a.{suffix}", voice(0.1), RATE)
    write_audio(tmp_path / "others" / "b.wav", voice(0.1), RATE)
    with pytest.raises(CorpusError, match=said):
        Folder.of("theirs", tmp_path / place, ["a"])


def test_a_silent_first_channel_is_not_what_is_judged(pairs: Path, tmp_path: Path) -> None:
    for side in ("clean", "noisy"):
        sound = read_mono(pairs / side / "talk0.wav")
        write_audio(tmp_path / "stereo" / side / "talk0.wav", np.stack([0 * sound, sound]), RATE)
        write_audio(tmp_path / "theirs" / "talk0.wav", np.stack([0 * sound, sound]), RATE)
    plain, stereo = (load_item(items_from_pairs(folder)[0]) for folder in (pairs, tmp_path / "stereo"))
    assert np.array_equal(plain.noisy, stereo.noisy) and np.array_equal(plain.clean, stereo.clean)
    output = Folder.of("theirs", tmp_path / "theirs", ["talk0"]).open()(Inputs(plain.noisy, plain.noisy, "talk0"))
    assert np.array_equal(output, plain.noisy)


def test_all_files_of_an_item_are_judged_on_the_channel_of_its_clean_one(pairs: Path, tmp_path: Path) -> None:
    """Noise on both sides, the voice on the right alone: the left one of the noisy file is no voice in noise."""
    clean, noisy = (read_mono(pairs / side / "talk0.wav") for side in ("clean", "noisy"))
    stereo = {"clean": [0 * clean, clean], "noisy": [noisy - clean, noisy], "theirs": [noisy - clean, clean]}
    for side, channels in stereo.items():
        write_audio(tmp_path / "stereo" / side / "talk0.wav", np.stack(channels), RATE, subtype="FLOAT")
    item = items_from_pairs(tmp_path / "stereo")[0]
    assert np.array_equal(load_item(item).noisy, noisy)
    theirs = Folder.of("theirs", tmp_path / "stereo" / "theirs", ["talk0"])
    found = evaluate([item], Given(dull), [theirs], metrics=QUICK).items[0]
    assert found.value("noisy", "sisdr") == pytest.approx(si_sdr(noisy, clean), abs=0.1)
    judged = found.value("theirs", "sisdr")
    assert judged is not None and judged > 60.0


@pytest.mark.parametrize("lag", [-20_000, 5_760, 9_600, 47_000])
def test_a_foreign_output_is_found_up_to_a_second_away(pairs: Path, lag: int) -> None:
    def late(degraded: FloatArray, noisy: FloatArray) -> FloatArray:
        padded = np.pad(noisy, (max(0, lag), max(0, -lag)))
        return padded[: len(noisy)] if lag > 0 else padded[-len(noisy) :]

    item = items_from_pairs(pairs)[0]
    system = evaluate([item], Given(dull), [Made("theirs", late, foreign=True)], metrics=QUICK).items[0]
    assert system.systems["theirs"].lag_samples == lag


def test_kept_scores_are_those_of_the_rate_and_the_channel(pairs: Path, tmp_path: Path) -> None:
    """The same samples that are said to come from 16 kHz can't be judged above 8 kHz; as 48 kHz they can."""
    cache, seen = Cache(tmp_path / "cache"), []
    for rate in (16_000, RATE):
        for side in ("clean", "noisy"):
            sound = resample(read_mono(pairs / side / "talk0.wav"), RATE, 16_000)
            if rate == RATE:
                sound = resample(sound, 16_000, RATE)
            write_audio(tmp_path / str(rate) / side / "talk0.wav", sound, rate, subtype="FLOAT")
        items = items_from_pairs(tmp_path / str(rate))
        found = evaluate(items, Given(dull, "dull"), [], metrics=QUICK, cache=cache).items[0]
        seen.append(found.value("degraded", "osr_hf"))
        assert seen[-1] == evaluate(items, Given(dull), [], metrics=QUICK).items[0].value("degraded", "osr_hf")
    assert seen[0] is None is not seen[1]


def test_means_over_fewer_items_say_so(pairs: Path) -> None:
    """A value that one system lacks on an item leaves that item out for all, of this metric alone."""
    found = evaluate(items_from_pairs(pairs), Given(dull), [Made("restored", halfway)], metrics=QUICK)
    scores = found.items[0].systems["restored"].scores
    scores["lsd"] = Score(None, "for a test")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(summary_table(found))
    rows = [line for line in console.export_text().splitlines() if "(over 3)" in line]
    assert len(rows) == 1 and "log-spectral distance" in rows[0]
    assert as_json(found)["items_of_mean"]["lsd"] == 3
    assert as_json(found)["items_of_mean"]["osr"] == 4


def test_a_foreign_file_that_can_not_be_read_costs_only_itself(pairs: Path, tmp_path: Path) -> None:
    for stem in ("talk0", "talk1"):
        write_audio(tmp_path / "theirs" / f"{stem}.wav", read_mono(pairs / "clean" / f"{stem}.wav"), RATE)
    (tmp_path / "theirs" / "talk0.wav").write_bytes(b"RIFF")
    items = items_from_pairs(pairs)[:2]
    theirs = Folder.of("theirs", tmp_path / "theirs", ["talk0"])
    found = evaluate(items, Given(dull), [Made("restored", halfway), theirs], metrics=QUICK)
    ((stem, reason),) = [(failure.stem, failure.reason) for failure in found.failures]
    assert stem == "talk0" and "can't be read" in reason
    assert found.items[1].value("theirs", "osr") == 0.0 and found.items[0].value("restored", "osr") is not None


def results(found: Evaluation) -> str:
    return json.dumps(as_json(found), sort_keys=True)


def test_processes_and_kept_scores_give_the_same(pairs: Path, tmp_path: Path) -> None:
    items, systems = items_from_pairs(pairs)[:2], [Limited(12.0), Limited(24.0)]
    source = Suppressing(FULL)
    alone = evaluate(items, source, systems, metrics=QUICK, with_clips=True)
    cache = Cache(tmp_path / "cache")
    beside = evaluate(items, source, systems, metrics=QUICK, with_clips=True, jobs=2, cache=cache)
    again = evaluate(items, source, systems, metrics=QUICK, with_clips=True, cache=cache)
    assert results(alone) == results(beside) == results(again)
    assert [item.clip for item in alone.items] == [item.clip for item in beside.items] == [i.clip for i in again.items]


def test_a_new_system_costs_only_itself(pairs: Path, tmp_path: Path) -> None:
    ran: list[str] = []

    def counting(name: str) -> Made:
        def run(degraded: FloatArray, noisy: FloatArray) -> FloatArray:
            ran.append(name)
            return halfway(degraded, noisy)

        return Made(name, run, identity=name)

    def suppress(noisy: FloatArray) -> FloatArray:
        ran.append("suppressor")
        return dull(noisy)

    items, source, cache = items_from_pairs(pairs)[:2], Given(suppress, "dull"), Cache(tmp_path / "cache")
    evaluate(items, source, [counting("a")], metrics=QUICK[:2], cache=cache)
    assert sorted(ran) == ["a", "a", "suppressor", "suppressor"]
    ran.clear()
    evaluate(items, source, [counting("a")], metrics=QUICK[:2], cache=cache)
    assert not ran
    evaluate(items, source, [counting("a"), counting("b")], metrics=QUICK[:2], cache=cache)
    assert sorted(ran) == ["b", "b", "suppressor", "suppressor"]
    ran.clear()
    found = evaluate(items, source, [counting("a")], metrics=QUICK, cache=cache)
    assert sorted(ran) == ["a", "a", "suppressor", "suppressor"], "a new metric needs the outputs once"
    assert (
        found.items[0].systems["a"].scores
        == score(items, dull, halfway, metrics=QUICK).items[0].systems["restored"].scores
    )
    ran.clear()
    make_pair(pairs, "talk1", voice(1.5, seed=9))
    evaluate(items, source, [counting("a")], metrics=QUICK, cache=cache)
    assert sorted(ran) == ["a", "suppressor"], "another recording by the old name"


def test_kept_scores_say_no_more_than_what_was_asked_for(pairs: Path, tmp_path: Path) -> None:
    """Also n/a ones, metrics that another run asked for, and outputs that are late."""

    def late(degraded: FloatArray, noisy: FloatArray) -> FloatArray:
        return np.roll(degraded, 480)

    make_pair(pairs, "low", resample(voice(1.5), RATE, 16_000), rate=16_000)
    items, source, cache = items_from_pairs(pairs)[:3], Given(dull, "dull"), Cache(tmp_path / "cache")
    opened: list[str] = []

    @dataclass(frozen=True)
    class Watched(Made):
        def open(self) -> Run:
            opened.append(self.name)
            return super().open()

    system = Watched("restored", late, identity="late")
    fresh = evaluate(items, source, [system], metrics=QUICK[:1], with_clips=True)
    evaluate(items, source, [system], metrics=QUICK, cache=cache)
    evaluate(items, source, [system], metrics=QUICK, with_clips=True, cache=cache)
    opened.clear()
    kept = evaluate(items, source, [system], metrics=QUICK[:1], with_clips=True, cache=cache)
    assert not opened and results(kept) == results(fresh)
    assert [item.clip for item in kept.items] == [item.clip for item in fresh.items]


def test_a_torn_entry_is_judged_again(pairs: Path, tmp_path: Path) -> None:
    items, source, cache = items_from_pairs(pairs)[:1], Given(dull, "dull"), Cache(tmp_path / "cache")
    first = evaluate(items, source, [], metrics=QUICK, cache=cache)
    for path in (tmp_path / "cache").rglob("*.json"):
        path.write_text(path.read_text()[:-9])
    assert results(evaluate(items, source, [], metrics=QUICK, cache=cache)) == results(first)


def test_the_curve_is_what_each_strength_and_limit_would_score(pairs: Path) -> None:
    found = evaluate(items_from_pairs(pairs), Given(dull), [Made("restored", halfway, strength=0.5)], metrics=QUICK)
    item = items_from_pairs(pairs)[1]
    noisy, clean = read_mono(item.noisy), read_mono(item.clean)
    gain, degraded = np.float32(item_gain(clean)), dull(noisy)
    curve = {point.amount: point for point in found.items[1].systems["restored"].curve}
    assert tuple(curve) == STRENGTHS
    for strength in (0.0, 0.3, 1.0):
        mixed = from_pcm(to_pcm(degraded + np.float32(strength) * (noisy - degraded)))
        expected = cell_rates(mixed * gain, clean * gain)
        assert curve[strength].osr == pytest.approx(expected.oversuppressed, abs=2e-3)
        assert curve[strength].resid == pytest.approx(expected.residual, abs=2e-3)
    assert curve[0.5].osr == found.items[1].value("restored", "osr"), "the curve goes through the table's value"
    limits = {point.amount: point for point in found.items[1].systems["degraded"].curve}
    expected = cell_rates(from_pcm(to_pcm(Limited(12.0).open()(Inputs(noisy, degraded)))) * gain, clean * gain)
    assert tuple(limits) == LIMITS_DB and limits[12.0].osr == pytest.approx(expected.oversuppressed, abs=2e-3)
    assert mean_curve(found, "noisy") == []
    assert mean_curve(found, "restored")[0].osr == pytest.approx(mean(found, "degraded", "osr"), abs=2e-3)


@pytest.mark.parametrize("given", [False, True])
def test_limits_of_the_curve_are_those_below_the_suppressors_own(given: bool, pairs: Path, tmp_path: Path) -> None:
    """Also of a corpus, whose degraded files were made by the same configuration."""
    (item,) = items_from_pairs(pairs)[:1]
    noisy, clean = read_mono(item.noisy), read_mono(item.clean)
    degraded = Limited(12.0).open()(Inputs(noisy, dull(noisy)))
    write_audio(tmp_path / "degraded.wav", degraded, RATE)
    item = replace(item, degraded=tmp_path / "degraded.wav" if given else None)
    source = Given(lambda _noisy: degraded, limit_db=12.0)
    found = evaluate([item], source, [Limited(6.0, 12.0)], metrics=QUICK).items[0]
    curve = {point.amount: point for point in found.systems["degraded"].curve}
    assert tuple(curve) == (6.0, 9.0)
    assert curve[6.0].osr == pytest.approx(found.value("limit6", "osr"), abs=2e-3)
    gain = np.float32(item_gain(clean))
    expected = cell_rates(from_pcm(to_pcm(Limited(6.0).open()(Inputs(noisy, dull(noisy))))) * gain, clean * gain)
    assert curve[6.0].osr == pytest.approx(expected.oversuppressed, abs=2e-3)


def dark(noisy: FloatArray) -> FloatArray:
    """Nothing above 6 kHz, to far below what 16 bits can hold."""
    spectrum = np.fft.rfft(noisy)
    spectrum[int(6_000 * len(noisy) / RATE) :] = 0.0
    return np.fft.irfft(spectrum, len(noisy)).astype(np.float32)


@pytest.fixture
def dark_pair(tmp_path: Path) -> Callable[[str], Item]:
    """A voice that ends at 6 kHz, in files of some subtype."""

    def make(subtype: str) -> Item:
        clean = dark(voice(1.5))
        write_audio(tmp_path / "clean" / "a.wav", clean, RATE, subtype=subtype)
        write_audio(tmp_path / "noisy" / "a.wav", clean + noise(1.5, level=0.01), RATE, subtype=subtype)
        return items_from_pairs(tmp_path)[0]

    return make


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_system_scores_the_same_in_here_and_from_its_files(
    subtype: str, dark_pair: Callable[[str], Item], tmp_path: Path
) -> None:
    """Files in the reference's resolution: 16 bits hold more noise up there than an output in here does."""
    item = dark_pair(subtype)
    made = halfway(dark(read_mono(item.noisy)), read_mono(item.noisy))
    write_audio(tmp_path / "out" / "a.wav", made, RATE, subtype=subtype)
    read = Folder.of("files", tmp_path / "out", ["a"])
    ours, theirs = (
        evaluate([item], Given(dark), [system], metrics=QUICK).items[0].systems[system.name].scores
        for system in (Made("ours", halfway), read)
    )
    assert ours == theirs


def test_the_rounding_of_a_reference_is_no_voice_that_could_be_lost(dark_pair: Callable[[str], Item]) -> None:
    """Above 6 kHz this one holds the rounding of its file alone, and the output, a float, not even that."""
    item = dark_pair("PCM_16")
    clean = read_mono(item.clean)
    gain = np.float32(item_gain(clean))
    assert cell_rates(dark(clean) * gain, clean * gain, above_hz=8_000).oversuppressed > 0.9
    found = evaluate([item], Given(dark), [Made("ideal", lambda d, n: dark(clean))], metrics=QUICK).items[0]
    assert found.value("ideal", "osr_hf") < 0.01 and found.value("ideal", "osr") < 0.01


def test_sixteen_bits_are_told_by_the_samples_not_by_the_container(tmp_path: Path) -> None:
    sound = voice(1)
    write_audio(tmp_path / "a.wav", sound, RATE)
    write_audio(tmp_path / "b.wav", read_mono(tmp_path / "a.wav"), RATE, subtype="PCM_24")
    write_audio(tmp_path / "c.wav", sound, RATE, subtype="PCM_24")
    assert [is_16_bit(read_mono(tmp_path / f"{name}.wav")) for name in "abc"] == [True, True, False]
    np.testing.assert_array_equal(from_pcm(to_pcm(sound)), read_mono(tmp_path / "a.wav"))


def test_the_advantage_is_at_equal_residual_noise() -> None:
    limits = [Point(6.0, 0.1, 0.04), Point(12.0, 0.2, 0.02), Point(24.0, 0.4, 0.0)]
    curve = [Point(0.0, 0.4, 0.0), Point(0.5, 0.25, 0.01), Point(1.0, 0.2, 0.05)]
    assert advantage(curve, limits) == pytest.approx({0.0: 0.0, 0.5: 0.05}), "beyond the limits nothing is said"


def test_of_limits_with_equal_noise_the_best_one_counts() -> None:
    """As on one good recording, where many leave none at all: the model is no better than what a limit gives."""
    limits = [Point(12.0, 0.2, 0.0), Point(24.0, 0.24, 0.0), Point(48.0, 0.29, 0.0)]
    curve = [Point(0.0, 0.3, 0.0), Point(0.1, 0.27, 0.0)]
    assert advantage(curve, limits) == pytest.approx({0.0: -0.1, 0.1: -0.07})


def test_between_the_farthest_limit_and_the_suppressor_an_advantage_is_said_too() -> None:
    limits = [Point(12.0, 0.2, 0.04), Point(48.0, 0.3, 0.02)]
    curve = [Point(0.0, 0.4, 0.01), Point(0.1, 0.3, 0.015), Point(1.0, 0.1, 0.03)]
    assert advantage(curve, limits) == pytest.approx({0.0: 0.0, 0.1: 0.05, 1.0: 0.15})
    assert advantage(curve[1:], limits) == pytest.approx({1.0: 0.15}), "a curve that does not begin there"


def test_breakdowns_part_items_by_what_is_known(pairs: Path) -> None:
    items = [
        replace(
            item,
            facts={"speaker": "ab"[n % 2], "snr_db": float(n), "same": "x", "rare": "y"} if n else {"speaker": "a"},
        )
        for n, item in enumerate(items_from_pairs(pairs))
    ]
    found = score(items, dull, halfway, metrics=QUICK)
    parts = breakdowns(found, "restored")
    assert set(parts) == {"speaker", "snr_db"}, "one group is no breakdown"
    assert {group.name: group.items for group in parts["speaker"]} == {"a": 2, "b": 2}
    (voice_b,) = [group for group in parts["speaker"] if group.name == "b"]
    values = [found.items[n].value("degraded", "osr") for n in (1, 3)]
    assert voice_b.before["osr"] == pytest.approx(np.mean(np.array(values, float)))
    assert sum(group.items for group in parts["snr_db"]) == 3


@pytest.mark.parametrize(
    "values",
    [[0.0] * 10 + [5.0, 7.0], [16000.0, 16001.0, 16002.0, 16004.0, 24000.0, 24001.0, 24001.5, 24002.0], [1.0, 2.0]],
)
def test_a_breakdown_by_numbers_loses_no_item(values: list[float]) -> None:
    items = tuple(
        ItemResult(str(n), 1.0, {"noisy": SystemResult({}), "degraded": SystemResult({})}, {"value": value})
        for n, value in enumerate(values)
    )
    (groups,) = breakdowns(Evaluation((), ("noisy", "degraded"), items), "degraded").values()
    assert sum(group.items for group in groups) == len(values) and len({group.name for group in groups}) == len(groups)


def test_sentences_are_about_the_first_that_stands_against_the_suppressor(pairs: Path) -> None:
    systems = [Made("old", halfway), Made("new", halfway), Limited(6.0)]
    found = evaluate(items_from_pairs(pairs)[:1], Given(dull), systems, metrics=QUICK)
    assert found.restored == "old" and "old against the suppressor alone" in words.sentence(found)


def test_means_and_differences_are_over_the_same_items(pairs: Path, tmp_path: Path) -> None:
    write_audio(tmp_path / "theirs" / "talk1.wav", read_mono(pairs / "clean" / "talk1.wav"), RATE)
    theirs = Folder.of("theirs", tmp_path / "theirs", ["talk1"])
    found = evaluate(items_from_pairs(pairs), Given(dull), [Made("restored", halfway), theirs], metrics=QUICK)
    change, before, after = (
        difference(found, "restored", "osr"),
        mean(found, "degraded", "osr"),
        mean(found, "restored", "osr"),
    )
    assert change is not None and before is not None and after is not None
    assert change.items == 1 and change.mean == pytest.approx(after - before)


def test_a_reference_that_ends_below_its_output_is_said(tmp_path: Path) -> None:
    clean = voice(1.5)
    spectrum = np.fft.rfft(clean)
    spectrum[int(7_000 * 1.5) :] = 0.0
    make_pair(tmp_path, "narrow", np.fft.irfft(spectrum, len(clean)).astype(np.float32))
    found = score(items_from_pairs(tmp_path), dull, halfway, metrics=QUICK)
    ends = "end below the bandwidth of an output (first: narrow: the reference ends at 7."
    assert any(ends in said for said in words.unclaimed(found))


@pytest.mark.slow
def test_ten_minutes_are_judged(tmp_path: Path) -> None:
    clean, noisy = (np.tile(sound, 60) for sound in (voice(10.0), voice(10.0) + noise(10.0, level=0.01)))
    write_audio(tmp_path / "clean" / "long.wav", clean, RATE)
    write_audio(tmp_path / "noisy" / "long.wav", noisy, RATE)
    found = score(items_from_pairs(tmp_path), dull, halfway, metrics=QUICK)
    assert found.items[0].seconds == 600.0 and found.items[0].value("restored", "osr") is not None


@pytest.mark.parametrize(
    ("words_given", "said"),
    [
        (["--system", "theirs"], "--system 'theirs': expected NAME=DIR, a name and the folder"),
        (["--limits", "24,many"], "--limits: expected values in dB above 0 and at most 100, got 'many'"),
        (["--model", "a.onnx", "--model", "b.onnx"], "several models must be named"),
        (["--system", "restored=theirs"], "restored: two systems can't share a name"),
        (["--system", "limit9=theirs"], "limit9: is reserved for the suppressor with a limit"),
        (["--json", "same", "--html", "same"], "--html same: is also the file of --json"),
        (["--metric", "psq"], "did you mean 'pesq'?"),
    ],
)
def test_options_that_can_not_be_are_said(
    words_given: list[str], said: str, pairs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pairs.parent)
    write_audio(pairs.parent / "theirs" / "talk0.wav", voice(1.5), RATE)
    assert main(["evaluate", "--pairs", "pairs", "--no-cache", *words_given]) != 0
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err


def test_recordings_that_can_not_be_judged_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--recordings", str(tmp_path / "none"), "--no-cache"]) == 1
    assert "none: no such folder; expected a folder of .wav or .flac files" in capsys.readouterr().err
    write_audio(tmp_path / "calls" / "a.wav", voice(1.0), RATE)
    assert main(["evaluate", "--recordings", str(tmp_path / "calls"), "--metric", "core", "--no-cache"]) == 1
    assert "none of the requested metrics works without clean files" in capsys.readouterr().err
    write_audio(tmp_path / "calls" / "b.wav", voice(1.0)[:0], RATE)
    assert main(["evaluate", "--recordings", str(tmp_path / "calls"), "--no-cache"]) == 1
    assert "b.wav: holds no samples" in capsys.readouterr().err
    (tmp_path / "calls" / "b.wav").rename(os.fsdecode(bytes(tmp_path / "calls") + b"/caf\xe9.wav"))
    assert main(["evaluate", "--recordings", str(tmp_path / "calls"), "--no-cache"]) == 1
    assert "its name is not UTF-8" in capsys.readouterr().err


def test_the_verb_judges_everything_at_once(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_audio(tmp_path / "theirs" / "talk0.wav", read_mono(pairs / "clean" / "talk0.wav"), RATE)
    for stem in ("talk1", "talk2", "talk3"):
        (pairs / "noisy" / f"{stem}.wav").unlink()
        (pairs / "clean" / f"{stem}.wav").unlink()
    command = [
        "evaluate",
        "--pairs",
        str(pairs),
        "--system",
        f"theirs={tmp_path / 'theirs'}",
        "--cache",
        str(tmp_path / "c"),
    ]
    assert main([*command, "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["systems"]) == sorted(
        ["noisy", "degraded", "restored", "limit24", "limit18", "limit12", "limit6", "theirs"]
    )
    assert report["systems"]["theirs"]["mean"]["osr"] == 0.0
    assert report["curve"].keys() == {"degraded", "restored"}


def test_a_model_is_known_by_its_content(tmp_path: Path) -> None:
    first = Restoring.of("restored", None, None, None)
    assert first.strength is not None and first.identity == Restoring.of("x", None, first.strength, None).identity
    assert first.identity != Restoring.of("restored", None, 0.35, None).identity
    assert first.identity != Restoring.of("restored", None, None, FULL).identity


def test_without_a_reference_only_what_needs_none_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        write_audio(tmp_path / "heard" / f"call{seed}.wav", voice(1.5, seed=seed) + noise(1.5, level=0.02), RATE)
    page, scores = tmp_path / "page.html", tmp_path / "scores.json"
    command = ["evaluate", "--recordings", str(tmp_path / "heard"), "--limits", "24", "--no-cache", "--jobs", "1"]
    assert main([*command, "--html", str(page), "--json", str(scores)]) == 0
    report = json.loads(scores.read_text())
    keys = set(report["systems"]["restored"]["mean"])
    assert keys == {"dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808"} and report["curve"] == {}
    assert report["worse"]["restored"]["judged"] == 0
    text = page.read_text(encoding="utf-8")
    assert "What was lost and what came back can" in text and text.count("<audio") == 2 * 4
    assert "what came back" in text and "Operating curve" not in text
    assert "2 recordings without a reference" in text and "Traceback" not in capsys.readouterr().err


def test_what_could_not_be_had_this_time_is_asked_again(pairs: Path, tmp_path: Path) -> None:
    """A process that was killed says nothing of the signals; silence does, and is kept."""
    asked: list[bool] = []

    def failing_once(_estimate: FloatArray, _reference: FloatArray) -> float:
        asked.append(True)
        if len(asked) == 1:
            raise PassingError("died of SIGKILL")
        if len(asked) == 2:
            raise NotComputableError("the output is silent")
        return 1.0

    metric = Metric("odd", "odd", "", "higher", RATE, failing_once)
    items, source, cache = items_from_pairs(pairs)[:1], Given(dull, "dull"), Cache(tmp_path / "cache")
    found = [evaluate(items, source, [], metrics=[metric], cache=cache).items[0].systems for _ in range(3)]
    told = [result.scores["odd"].reason for result in (found[0][NOISY], found[0][DEGRADED], found[1][NOISY])]
    assert told == ["died of SIGKILL", "the output is silent", None]
    assert found[2] == found[1] and len(asked) == 3, "silence was kept, and so is the number"


def test_an_output_that_gets_its_items_name_is_found(pairs: Path, tmp_path: Path) -> None:
    items, source, cache = items_from_pairs(pairs)[:2], Given(dull, "dull"), Cache(tmp_path / "cache")
    theirs = tmp_path / "theirs"
    write_audio(theirs / f"{items[0].stem}.wav", read_audio(items[0].noisy)[0], RATE)
    again = theirs / "other.wav"
    write_audio(again, read_audio(items[1].noisy)[0], RATE)

    def gone() -> list[bool]:
        system = Folder.of("theirs", theirs, [item.stem for item in items])
        found = evaluate(items, source, [system], metrics=QUICK[:1], cache=cache)
        return [item.systems["theirs"].missing for item in found.items]

    assert gone() == [False, True]
    again.rename(theirs / f"{items[1].stem}.wav")
    assert gone() == [False, False]


def test_limits_are_of_the_limit_that_each_item_has(pairs: Path, tmp_path: Path) -> None:
    """By the table of its corpus; of another suppressor there is none."""
    noisy = read_audio(items_from_pairs(pairs)[0].noisy)[0][0]
    whole = dull(noisy)
    items = []
    for name, floor_db, facts in (
        ("none", 100.0, {"suppressor": "dfn3", "attenuation_limit_db": 100.0}),
        ("twelve", 12.0, {"suppressor": "dfn3", "attenuation_limit_db": 12.0}),
        ("lower", 3.0, {"suppressor": "dfn3", "attenuation_limit_db": 3.0}),
        ("rnnoise", 100.0, {"suppressor": "rnnoise", "attenuation_limit_db": 100.0}),
    ):
        part = np.float32(0.0 if floor_db == 100.0 else 10.0 ** (-floor_db / 20))
        paths = [tmp_path / name / f"{side}.wav" for side in ("noisy", "clean", "degraded")]
        for path, samples in zip(paths, (noisy, noisy, part * noisy + (1 - part) * whole), strict=True):
            write_audio(path, samples, RATE, subtype="FLOAT")
        items.append(Item(name, *paths, facts=facts))
    found = evaluate(items, Given(dull, "dull"), [Limited(6.0)], metrics=QUICK).items
    values = [item.systems["limit6"].scores["lsd"] for item in found]
    assert values[0].value == pytest.approx(values[1].value, abs=1e-3) and values[0].value is not None
    assert values[2].reason == "the output can't be made because degraded already has a limit of 3 dB"
    assert values[3].reason == "the output can't be made because degraded is from another suppressor"
    assert [bool(item.systems[DEGRADED].curve) for item in found] == [True, True, False, False]


def test_the_sentence_counts_the_items_that_it_is_about(pairs: Path) -> None:
    items = items_from_pairs(pairs)
    items += [replace(item, stem=f"{item.stem}b") for item in items]
    few = Folder.of("theirs", pairs / "clean", [item.stem for item in items])
    restored = Made("restored", halfway)
    told = words.sentence(evaluate(items, Given(dull), [restored, few], metrics=QUICK))
    assert told.startswith("On 4 of 8 items, restored")
    assert words.sentence(evaluate(items, Given(dull), [restored], metrics=QUICK)).startswith("On these 8 items")


def test_a_limit_that_does_not_exist_breaks_no_contract_and_is_said(pairs: Path) -> None:
    items = [replace(item, facts={}) for item in items_from_pairs(pairs)]
    found = evaluate(items, Given(dull, name="rnnoise"), [Limited(6.0)], metrics=QUICK)
    assert not found.failures and not any(item.systems[DEGRADED].curve for item in found.items)
    assert "limit6 has no output for 4 items" in " ".join(words.unclaimed(found))


def test_limits_are_made_again_once_a_table_says_that_there_are_some(pairs: Path, tmp_path: Path) -> None:
    """What a score follows from is what it is kept by: the suppressor's name is part of that."""
    noisy = items_from_pairs(pairs)[0].noisy
    write_audio(tmp_path / "dull.wav", dull(read_mono(noisy)), RATE, subtype="FLOAT")

    def limited(name: str) -> float | None:
        item = Item("a", noisy, noisy, tmp_path / "dull.wav", facts={"suppressor": name})
        found = evaluate([item], Given(dull, "dull"), [Limited(6.0)], metrics=QUICK, cache=Cache(tmp_path / "kept"))
        return found.items[0].value("limit6", "lsd")

    assert limited("rnnoise") is None and limited("dfn3") is not None and limited("rnnoise") is None


def test_curves_are_over_the_items_that_have_them_all(pairs: Path, tmp_path: Path) -> None:
    """A model has one on every item, limits on those of one suppressor: an advantage over others would be of items."""
    items = []
    for item, name in zip(items_from_pairs(pairs), ("dfn3", "dfn3", "rnnoise", "dfn3"), strict=True):
        degraded = tmp_path / f"{item.stem}.wav"
        write_audio(degraded, dull(read_mono(item.noisy)), RATE, subtype="FLOAT")
        items.append(replace(item, degraded=degraded, facts={"suppressor": name}))
    restored = Made("restored", halfway, strength=0.5)
    found = evaluate(items, Given(dull, "dull"), [restored], metrics=QUICK)
    part = evaluate([*items[:2], items[3]], Given(dull, "dull"), [restored], metrics=QUICK)
    for name in ("restored", DEGRADED):
        assert mean_curve(found, name) == mean_curve(part, name) != []


def test_a_system_without_one_usable_output_does_not_hide_the_others(pairs: Path) -> None:
    items = items_from_pairs(pairs)
    found = score(items, dull, halfway, extra_systems={"torn": lambda noisy, _degraded: noisy[:-1]}, metrics=QUICK)
    alone = score(items, dull, halfway, metrics=QUICK)
    assert summary.mean(found, "torn", "lsd") is None
    assert summary.mean(found, "restored", "lsd") == summary.mean(alone, "restored", "lsd")
    assert len(summary.common(found)) == len(items)


def test_the_curve_is_over_the_items_of_the_table(pairs: Path, tmp_path: Path) -> None:
    """A folder that lacks the hard ones takes them out of both."""
    items, theirs = items_from_pairs(pairs), tmp_path / "theirs"
    for item in items[:-1]:
        write_audio(theirs / f"{item.stem}.wav", read_audio(item.noisy)[0], RATE)
    folder = Folder.of("theirs", theirs, [item.stem for item in items])
    restored = Made("restored", lambda degraded, noisy: halfway(degraded, noisy), strength=0.5)
    found = evaluate(items, Given(dull), [restored, folder], metrics=QUICK)
    (point,) = [point for point in mean_curve(found, "restored") if point.amount == 0.5]
    assert point.osr == pytest.approx(summary.mean(found, "restored", "osr"), abs=1e-12)


def test_speech_without_noise_stands_beside_the_numbers(pairs: Path) -> None:
    items = items_from_pairs(pairs)
    told = [replace(item, facts={"snr_db": "inf" if n == 0 else float(n % 2)}) for n, item in enumerate(items)]
    groups = breakdowns(score(told, dull, halfway, metrics=QUICK), "restored")["snr_db"]
    assert [group.name for group in groups] == ["0", "1", "inf"]


@pytest.mark.parametrize("asked", [False, True])
def test_a_place_for_scores_that_can_not_be_written(
    asked: bool, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    line = ["evaluate", "--pairs", str(pairs), "--metric", "lsd", "--limits", "", "--jobs", "1"]
    assert main(line + ["--cache", str(tmp_path / "file" / "x")] * asked) == (2 if asked else 0)
    said = capsys.readouterr().err
    assert ("--cache" in said and "can't be written to" in said) and ("so no scores are cached" in said) != asked


def test_a_voice_of_another_suppressor_works_behind_this_one(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Inside of its own it would hear what it knows of that one's spectrum; of another it hears the waves."""
    gate = SuppressorSettings("spectral_gate")
    assert Restoring.of("tiny", "tiny", None, FULL).inside == FULL
    behind = Restoring.of("tiny", "tiny", None, gate)
    assert behind.inside is None
    words = ["--pairs", str(pairs), "--set", "suppressor.name=spectral_gate", "--model", "t=tiny", "--metric", "osr"]
    assert main(["evaluate", *words, "--jobs", "1", "--no-cache", "--json", "-"]) == 0
    said = capsys.readouterr()
    assert "note: t was trained for another suppressor than spectral_gate, so it runs behind it" in said.err
    assert "note: spectral_gate has no attenuation limit, so none is compared." in said.err
    assert set(json.loads(said.out)["systems"]) == {"noisy", "degraded", "t"}
    noisy = read_mono(pairs / "noisy" / "talk0.wav")
    degraded = load_suppressor(gate)(noisy)
    assert np.array_equal(behind.open()(Inputs(noisy, degraded)), Restorer.load("tiny")(degraded, noisy))
