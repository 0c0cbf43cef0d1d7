"""The audit: a sound corpus is READY, every planted fault is named, and training refuses what is broken."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.voices import FloatArray, noise, voice
from timbre_restore import atomic
from timbre_restore import audit as audit_room
from timbre_restore.apps.cli import main
from timbre_restore.audio import packed_name, resample
from timbre_restore.audit import Expected, Report, Run, Timing, as_json, audit, require_sound, write_page
from timbre_restore.audit.integrity import check_alignment
from timbre_restore.audit.item import ITEM, flat_tops, look_at, peak_keys, phase_lag
from timbre_restore.audit.listing import read_corpus
from timbre_restore.audit.look import how_to_look
from timbre_restore.audit.split import copies
from timbre_restore.corpus import CorpusSpec, SourceSpec, Variety, Work, prepare
from timbre_restore.corpus.table import read_table, write_table
from timbre_restore.corpus.writing import items as items_module
from timbre_restore.errors import CorpusError
from timbre_restore.suppressors.base import one_by_one

Capture = pytest.CaptureFixture[str]
Harm = Callable[[Path], None]
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Gate:
    """Takes a tenth of everything, at once."""

    name: str = "gate"
    sample_rate_hz: int = 48000
    latency_samples: int = 1440
    licence: str = "Apache-2.0"
    build: str = "gate 1"

    def __call__(self, noisy: FloatArray) -> FloatArray:
        return noisy * np.float32(0.9)

    def with_hints(self, noisy: FloatArray) -> tuple[FloatArray, None]:
        return self(noisy), None

    def many(self, signals: Iterable[FloatArray]) -> Iterator[tuple[int, FloatArray, None]]:
        return one_by_one(self.with_hints, signals)


def spec_of(sounds: Path) -> CorpusSpec:
    variety = Variety(pause=0.0, silent_items=1.0, clean_input=0.0, band_limit=0.0)  # eight items and four
    source = SourceSpec(sounds / "speech")
    return CorpusSpec((source,), sounds / "noise", val_fraction=0.3, snr_db=(15.0, 40.0), variety=variety)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three speakers of two recordings each, and four noises."""
    root = tmp_path_factory.mktemp("sounds")
    for number, speaker in enumerate(("ann", "bob", "cy")):
        for take in (0, 1):
            (root / "speech" / speaker).mkdir(parents=True, exist_ok=True)
            samples = voice(2.2 + 0.3 * take, seed=10 * number + take)
            soundfile.write(root / "speech" / speaker / f"say{take}.wav", samples, 48000)
    (root / "noise").mkdir()
    for number in range(4):
        soundfile.write(root / "noise" / f"hum{number}.wav", noise(1.5, seed=number), 48000)
    return root


@pytest.fixture(scope="module")
def made(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and four validation items."""
    out = tmp_path_factory.mktemp("made") / "corpus"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(items_module, "load_suppressor", lambda settings: Gate())
        prepare(spec_of(sounds), out, Work(num_workers=0, progress=False))
    return out


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Path:
    """A copy to be harmed."""
    return moved(made, tmp_path / "corpus")


def moved(made: Path, out: Path) -> Path:
    shutil.copytree(made, out)
    for split in ("train", "val"):
        text = (made / f"{split}.txt").read_text()
        (out / f"{split}.txt").write_text(text.replace(str(made), str(out)))
    return out


def rows_of(corpus: Path, split: str = "train") -> list[dict[str, str]]:
    """Best SNR first."""
    rows = [row for row in read_table(corpus / "items.tsv") if row["split"] == split]
    return sorted(rows, key=lambda row: -float(row["snr_db"]))


def change_rows(corpus: Path, change: Callable[[dict[str, str]], None]) -> None:
    rows = read_table(corpus / "items.tsv")
    for row in rows:
        change(row)
    write_table(corpus / "items.tsv", list(rows[0]), [list(row.values()) for row in rows])


def rewritten(change: Callable[[FloatArray], FloatArray], rate: int = 48000, subtype: str = "PCM_16") -> Harm:
    return lambda path: soundfile.write(path, change(soundfile.read(path, dtype="float32")[0]), rate, subtype=subtype)


def late(samples: FloatArray) -> FloatArray:
    return np.concatenate([np.zeros(480, np.float32), samples[:-480]])


def with_nan(samples: FloatArray) -> FloatArray:
    samples[100] = np.nan
    return samples


def one_clipped(samples: FloatArray) -> FloatArray:
    top = 0.5 * float(np.abs(samples).max())
    return 0.4 / top * np.clip(samples, -top, top)


def test_names_that_are_no_text_do_not_hinder_a_report(tmp_path: Path) -> None:
    report = Report(tmp_path)
    name = os.fsdecode(b"caf\xe9.flac")
    report.warn("bandwidth", f"{name} ends at 8 kHz")
    report.broken("leak", f"{name} is on both sides")
    report.fact("source", "of", name)
    write_page(report, tmp_path / "page.html")
    atomic.write_json(tmp_path / "report.json", as_json(report))
    for name in ("page.html", "report.json"):
        assert "caf" in (tmp_path / name).read_text(encoding="utf-8")
    assert report.warnings == ["caf\\udce9.flac ends at 8 kHz"]


def test_a_sound_corpus_is_ready(made: Path) -> None:
    report = audit(made)
    assert report.ready, str(report)
    assert report.items == {"train": 8, "val": 4}
    assert report.warnings == []
    facts = as_json(report)["facts"]
    assert facts["alignment"]["largest lag against noisy"]["items"] == 12
    assert abs(facts["alignment"]["largest lag against noisy"]["samples"]) <= 4
    assert facts["split"]["speakers"] == {"train": 2, "val": 1}
    assert str(report).endswith("\nREADY")
    assert {"active level of clean", "SNR drawn", "bandwidth of clean"} <= set(as_json(report)["distributions"])


@pytest.mark.parametrize(
    ("role", "harm", "reason"),
    [
        ("degraded", Path.unlink, "1 degraded file is missing"),
        ("noisy", Path.unlink, "1 noisy file is missing"),
        ("clean", lambda path: path.write_bytes(b"RIFF"), "1 clean file is unreadable or cut off"),
        ("degraded", lambda path: path.write_bytes(path.read_bytes()[:30000]), "cut off|wrong length"),
        ("clean", rewritten(lambda x: x, 44100), r"not mono at 48000 Hz.*44100 Hz"),
        ("degraded", rewritten(lambda x: np.stack([x, x], axis=1)), "not mono.*2 channels"),
        ("noisy", rewritten(lambda x: x[:-1440]), "1 noisy file is of the wrong length.*48000 samples, expected 49440"),
        ("degraded", rewritten(with_nan, subtype="FLOAT"), r"1 degraded file is invalid \(NaN"),
        ("degraded", rewritten(late), r"1 item is not aligned: degraded against noisy.*\(\+480 samples\)"),
        ("clean", rewritten(late), r"1 item is not aligned: clean against noisy.*\(\+480 samples\)"),
    ],
)
def test_files_that_break_their_promise_are_named(corpus: Path, role: str, harm: Harm, reason: str) -> None:
    best = rows_of(corpus)[0]
    harm(corpus / best[role])
    report = audit(corpus)
    assert not report.ready
    assert len(report.reasons) == 1
    assert_said(report.reasons, reason)
    assert best["item"] in report.reasons[0]


@pytest.mark.parametrize(
    ("role", "harm", "warning"),
    [
        ("degraded", rewritten(lambda x: np.clip(x * 30, -1, 1)), r"1 of 12 items \(8.33 %\) reach full scale"),
        ("clean", rewritten(one_clipped), r"1 of 12 items .* clipped before it was stored"),
        ("clean", rewritten(lambda x: x + 0.05), r"1 of 12 items .* DC offset"),
        ("clean", rewritten(lambda x: 0 * x), r"1 of 12 items .* silent clean side"),
    ],
)
def test_signals_that_are_odd_warn(corpus: Path, role: str, harm: Harm, warning: str) -> None:
    best = rows_of(corpus)[0]
    harm(corpus / best[role])
    report = audit(corpus)
    assert report.ready, report.reasons
    assert_said(report.warnings, warning)
    assert best["item"] in " ".join(report.warnings)


@pytest.mark.parametrize("role", ["degraded", "clean", "noisy"])
def test_sides_that_are_swapped_between_items_are_named(corpus: Path, role: str) -> None:
    one, other = rows_of(corpus)[0], rows_of(corpus)[-1]
    assert one["recording"] != other["recording"]
    (corpus / one[role]).rename(corpus / "aside")
    (corpus / other[role]).rename(corpus / one[role])
    (corpus / "aside").rename(corpus / other[role])
    report = audit(corpus)
    # At least where the voice is loud against its noise; the other may be too noisy to say.
    assert_said(report.reasons, r"\d items? (is|are) mismatched")
    assert {row["item"] for row in (one, other) if row["item"] in " ".join(report.reasons)}


def test_a_speaker_on_both_sides_is_a_leak(corpus: Path) -> None:
    stranger = rows_of(corpus, "val")[0]["speaker"]
    change_rows(
        corpus,
        lambda row: row.update(speaker=stranger if row["item"] == rows_of(corpus)[0]["item"] else row["speaker"]),
    )
    report = audit(corpus)
    assert report.reasons == [f"1 speakers are in train and in val: {stranger}"]


def test_one_speaker_split_by_recording_warns_until_a_recording_is_on_both_sides(corpus: Path) -> None:
    change_rows(corpus, lambda row: row.update(speaker="ann", recording=f"{row['split']}/{row['recording']}"))
    report = audit(corpus)
    assert report.ready
    assert_said(report.warnings, "it is the only one, so the split is by recording")
    change_rows(corpus, lambda row: row.update(recording="ann/say0.wav"))
    assert_said(audit(corpus).reasons, "1 recordings are in train and in val: 0/ann/say0.wav")


@pytest.mark.parametrize("gain", [1.0, 0.4])
def test_audio_on_both_sides_is_a_leak_at_any_level(corpus: Path, gain: float) -> None:
    one, other = rows_of(corpus)[0], rows_of(corpus, "val")[0]
    for role in ("degraded", "clean", "noisy"):
        shutil.copy(corpus / one[role], corpus / other[role])
        rewritten(lambda x: x * np.float32(gain))(corpus / other[role])
    report = audit(corpus)
    assert len(report.reasons) == 1
    assert_said(report.reasons, "1 items hold the same clean audio in train and in val")
    assert one["item"] in report.reasons[0] and other["item"] in report.reasons[0]


def test_copies_within_a_side_warn_unless_they_are_passes(corpus: Path) -> None:
    one, other = rows_of(corpus)[0], rows_of(corpus)[-1]
    for role in ("degraded", "clean", "noisy"):
        shutil.copy(corpus / one[role], corpus / other[role])
    report = audit(corpus)
    assert report.ready
    assert_said(report.warnings, "1 of 12 items .* repeat the clean audio")

    def as_pass(row: dict[str, str]) -> None:
        if row["item"] == other["item"]:
            row.update(recording=one["recording"], index=one["index"])

    change_rows(corpus, as_pass)
    assert audit(corpus).warnings == []


def test_silent_items_are_no_copies(corpus: Path) -> None:
    for row in (rows_of(corpus)[0], rows_of(corpus, "val")[0]):
        rewritten(lambda x: 0 * x)(corpus / row["clean"])
    assert audit(corpus).ready


def test_upsampled_material_shows(corpus: Path) -> None:
    """Declared and stored at 48 kHz, made at 16 kHz: the items tell, and so does the column."""
    narrow = rows_of(corpus)[0]["recording"]
    for row in rows_of(corpus):
        if row["recording"] == narrow:
            rewritten(lambda x: resample(resample(x, 48000, 16000), 16000, 48000))(corpus / row["clean"])
    report = audit(corpus)
    assert report.ready
    assert_said(report.warnings, rf"source 0 \(speech\): 1 of 6 recordings .* above 12 kHz.*{narrow} \(7\.[89]")


def test_upsampled_recordings_show_in_their_rows(corpus: Path) -> None:
    change_rows(corpus, lambda row: row.update(bandwidth_hz="7900"))
    assert_said(audit(corpus).warnings, r"6 of 6 recordings .* above 12 kHz.*7\.9 kHz")


def test_lists_and_rows_that_disagree_are_named(corpus: Path) -> None:
    path = corpus / "train.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[2], lines[1], *lines[3:]]))
    assert audit(corpus).reasons == ["train.txt and items.tsv don't agree (first at line 2)"]
    path.write_text("".join(lines[:-1]))
    assert_said(audit(corpus).reasons, r"train.txt and items.tsv don't agree \(first at line 8\)")
    path.write_text("no pair\n")
    report = audit(corpus)
    assert_said(report.reasons, "train.txt, line 1: expected")
    assert "train.txt lists nothing" in report.reasons


def test_no_list_is_one_sentence_and_no_table_a_warning(corpus: Path) -> None:
    (corpus / "items.tsv").unlink()
    (corpus / "skipped.tsv").unlink()
    shutil.rmtree(corpus / ".state")
    report = audit(corpus)
    assert report.ready
    assert_said(report.warnings, "there is no items.tsv")
    (corpus / "val.txt").unlink()
    with pytest.raises(CorpusError, match="prepare the corpus first"):
        audit(corpus)


def test_columns_that_are_absent_or_new_are_no_matter(corpus: Path) -> None:
    rows = read_table(corpus / "items.tsv")
    kept = ("split", "degraded", "clean", "speaker")
    write_table(corpus / "items.tsv", [*kept, "loudness"], [[*(row[name] for name in kept), "h@0"] for row in rows])
    assert audit(corpus).ready
    change_rows(corpus, lambda row: row.update(loudness="inf"))
    assert audit(corpus).ready


def test_shared_noises_and_rooms_warn_and_made_ones_do_not(corpus: Path) -> None:
    rows = read_table(corpus / "items.tsv")
    values = [[*(row | {"noise": "made:7", "room": "hall", "noise_2": "hum9.wav"}).values()] for row in rows]
    write_table(corpus / "items.tsv", list(rows[0]), values)
    report = audit(corpus)
    assert report.ready
    assert report.warnings == [
        "1 noises are in train and in val, e.g. hum9.wav",
        "1 rooms are in train and in val, e.g. hall",
    ]


def test_settings_are_held_against_the_corpus(corpus: Path, sounds: Path) -> None:
    spec = spec_of(sounds)
    assert audit(corpus, expected=Expected(48000, spec.settings())).warnings == []
    report = audit(corpus, expected=Expected(48000, replace(spec, seed=7).settings()))
    assert report.ready
    assert report.warnings == ["seed is 7 now but was 0 when the corpus was prepared"]
    report = audit(corpus, expected=Expected(9600))
    assert_said(report.reasons, "data.segment is 9600, but the items were made with 48000 samples")


def test_shares_are_held_against_the_weights(corpus: Path, sounds: Path) -> None:
    spec = spec_of(sounds)
    two = replace(spec, sources=(SourceSpec(sounds / "speech", 0.3), SourceSpec(sounds / "speech", 0.7)))
    report = audit(corpus, expected=Expected(48000, two.settings()))
    assert report.ready
    assert_said(report.warnings, r"source 0 \(speech\) gives 100 % of the recordings, but its weight asks for 30 %")
    assert_said(report.warnings, "source 1 gives 0 % of the recordings, but its weight asks for 70 %")


def test_packed_items_are_looked_at_like_files(corpus: Path) -> None:
    """The same samples, all in one file: the same numbers."""
    before = as_json(audit(corpus))
    lines: dict[str, list[str]] = {"train": [], "val": []}
    names: dict[str, tuple[str, str, str]] = {}
    packed, offset = [], 0
    for row in read_table(corpus / "items.tsv"):
        parts = [soundfile.read(corpus / row[role], dtype="int16")[0] for role in ("degraded", "clean", "noisy")]
        paths = [packed_name(corpus / "items.pcm", offset + place) for place in (0, 48000, 96000)]
        lines[row["split"]].append(f"{paths[0]}|{paths[1]}\n")
        names[row["item"]] = (paths[0].name, paths[1].name, paths[2].name)
        packed += parts
        offset += sum(map(len, parts))
    for split, own in lines.items():
        (corpus / f"{split}.txt").write_text("".join(own))
    change_rows(corpus, lambda row: row.update(zip(("degraded", "clean", "noisy"), names[row["item"]], strict=True)))
    np.concatenate(packed).astype("<i2").tofile(corpus / "items.pcm")
    after = as_json(audit(corpus))
    assert after["ready"]
    assert {**after["facts"], "machine": 0} == {**before["facts"], "machine": 0}
    assert after["distributions"] == before["distributions"]
    with (corpus / "items.pcm").open("r+b") as file:
        file.truncate(2 * offset - 100)
    assert_said(audit(corpus).reasons, "1 noisy file is unreadable or cut off.*ends at sample")


def test_the_number_of_workers_changes_nothing(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_room.pool, "CHUNK", 5)
    rewritten(late)(corpus / rows_of(corpus)[0]["degraded"])
    (corpus / rows_of(corpus)[-1]["noisy"]).unlink()
    one, two = (as_json(audit(corpus, num_workers=workers)) for workers in (0, 2))
    for report in (one, two):
        report["facts"].pop("machine")  # free memory is another at every look
    assert one == two


def test_a_trial_predicts_hours(made: Path) -> None:
    """8 items in steps of 4, 3 epochs: 2 without and 4 with the GAN, one batch of validation each."""
    run = Run(batch_size=4, epochs=3, gan_epochs=2)
    trial = Timing((0.5, 0.5, 0.5), (1.0, 3.0), (0.0, 0.0, 0.1), (1.0, 0.0), 2.0, "cpu", 10**9)
    report = audit(made, run=run, trial=lambda: trial)
    facts = as_json(report)["facts"]["prediction"]
    told = {fact.name: fact.text for fact in report.facts if fact.section == "prediction"}
    assert told["batches/s before the GAN"] == "2 batches/s (too few steps for an interval)"
    assert told["3 epochs of 2 steps"].startswith("0.25 minutes (95 %: ")
    assert facts["batches/s before the GAN"] == {"value": 2.0, "low": 2.0, "high": 2.0, "unit": "batches/s"}
    assert facts["3 epochs of 2 steps"]["value"] * 3600 == pytest.approx(2 * 0.5 + 4 * 2.0 + 3 * 2.0)
    assert facts["3 epochs of 2 steps"]["low"] * 3600 == pytest.approx(2 * 0.5 + 4 * 1.0 + 3 * 2.0)
    waiting = facts["waiting for the loader"]
    assert waiting["share"] == {"before the GAN": pytest.approx(0.1 / 1.5), "with the GAN": 0.25}
    assert waiting["limit"] == {"before the GAN": "step", "with the GAN": "loader"}


def test_a_trial_that_fails_is_said(made: Path) -> None:
    def fails() -> Timing:
        raise CorpusError("no torch here")

    report = audit(made, trial=fails)
    assert report.ready
    assert report.warnings == ["the trial failed: no torch here"]


def test_no_trial_of_a_broken_corpus(corpus: Path) -> None:
    (corpus / rows_of(corpus)[0]["clean"]).unlink()

    def never() -> Timing:
        raise AssertionError

    assert not audit(corpus, trial=never).ready


class Parsed(HTMLParser):
    """Checks that tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href"} & {name for name, _ in attributes}
        if tag not in ("meta", "rect", "line", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line", "polyline") or tag == self.open[-1]:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_what_the_report_says(corpus: Path, tmp_path: Path) -> None:
    write_page(audit(corpus), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "READY" in text and "Why it is not ready" not in text and text.count("<svg") >= 8
    (corpus / rows_of(corpus)[0]["degraded"]).unlink()
    change_rows(corpus, lambda row: row.update(noise="<b>", suppressor_build="<i>"))
    report = audit(corpus)
    write_page(report, tmp_path / "page.html")
    parsed = Parsed()
    parsed.feed((tmp_path / "page.html").read_text())
    assert parsed.open == []
    for sentence in report.reasons + report.warnings:
        assert sentence in parsed.text
    assert "<b>" in parsed.text and "<i>" in parsed.text


def test_training_takes_the_verdict_while_it_fits(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit(corpus)
    with monkeypatch.context() as patch:
        patch.setattr(audit_room.verdict, "_look_quickly", pytest.fail)
        require_sound(corpus, 48000)
    rewritten(late)(corpus / rows_of(corpus)[0]["degraded"])
    assert not audit(corpus).ready
    with monkeypatch.context() as patch, pytest.raises(CorpusError, match=r"not aligned.*--skip-audit"):
        patch.setattr(audit_room.verdict, "_look_quickly", pytest.fail)
        require_sound(corpus, 48000)


@pytest.mark.parametrize("audited", [True, False])
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (Path.unlink, "1 files are missing or empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:999]), "cut off|wrong length"),
    ],
)
def test_training_looks_for_itself_when_files_have_changed(
    corpus: Path, audited: bool, harm: Harm, reason: str
) -> None:
    if audited:
        assert audit(corpus).ready
    require_sound(corpus, 48000)
    harm(corpus / rows_of(corpus)[0]["clean"])
    with pytest.raises(CorpusError) as caught:
        require_sound(corpus, 48000)
    assert_said([str(caught.value)], reason)


def test_a_verdict_is_not_taken_for_another_segment(corpus: Path) -> None:
    audit(corpus)
    with pytest.raises(CorpusError, match=r"data\.segment is 9600"):
        require_sound(corpus, 9600)


SMALL = (
    "model.size=tiny", "discriminators.names=[mpd]",
    "discriminators.periods=[2]", "discriminators.windows=[512]", "discriminators.channels=4",
    "training.batch_size=2", "training.epochs=1", "training.gan_start_epoch=1", "data.num_workers=0",
)  # fmt: skip


def set_options(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def test_the_verb_measures_steps_and_writes_both_files(corpus: Path, tmp_path: Path, capsys: Capture) -> None:
    line = ["audit", str(corpus), "--trial", "2", *set_options(*SMALL, "training.output_dir=" + str(tmp_path))]
    assert main([*line, "--html", str(tmp_path / "a.html"), "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ready"]
    assert found["facts"]["prediction"]["1 epochs of 4 steps"]["value"] > 0
    assert "READY" in (tmp_path / "a.html").read_text()
    (corpus / rows_of(corpus)[0]["clean"]).unlink()
    assert main(["audit", str(corpus), "--no-trial"]) == 1
    assert capsys.readouterr().out.endswith("\nNOT READY\n")


def test_the_trial_without_torch_is_said(corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert main(["audit", str(corpus), "--num_workers", "0"]) == 0
    assert "trial: not made: a trial needs the package 'torch'" in capsys.readouterr().out


def test_train_refuses_a_broken_corpus_unless_told(corpus: Path, tmp_path: Path, capsys: Capture) -> None:
    change_rows(corpus, lambda row: row.update(recording="same"))
    line = ["train", *set_options(*SMALL, f"data.output_dir={corpus}", f"training.output_dir={tmp_path / 'run'}")]
    assert main(line) == 1
    error = capsys.readouterr().err
    assert "is not ready for training: 1 recordings are in train and in val" in error
    assert not (tmp_path / "run").exists()
    assert main([*line, "--skip_audit"]) == 0
    assert (tmp_path / "run" / "checkpoints").is_dir()


def test_all_processes_refuse_alike(corpus: Path, tmp_path: Path) -> None:
    (corpus / rows_of(corpus)[0]["clean"]).unlink()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train.py"]
    done = subprocess.run(
        [*torchrun, *set_options(*SMALL, f"data.output_dir={corpus}", f"training.output_dir={tmp_path / 'run'}")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.count("is not ready for training: 1 files are missing or empty") == 2


def test_phase_lag_is_sharp_on_a_voice() -> None:
    """Plain correlation of voiced speech has a peak per pitch period; this one has one, and strangers have none."""
    clean = voice(1.0)
    other = voice(1.0, seed=5)
    spectrum = np.fft.rfft(clean + noise(1.0), 65536)
    for shift in (-960, -48, 0, 480, 4800):
        moved_by = np.roll(np.pad(clean, 5000), shift)[5000:-5000]
        lag, strength, near = phase_lag(np.fft.rfft(moved_by, 65536), spectrum, 65536)
        assert lag == shift
        assert strength > 0.15
        assert (near == strength) == (abs(shift) <= 48)
    assert phase_lag(np.fft.rfft(other, 65536), spectrum, 65536)[1] < 0.09


def test_flat_tops_tell_clipping_from_a_loud_voice() -> None:
    assert flat_tops(voice(1.0)) == 0
    assert flat_tops(np.rint(voice(1.0) * 32768).astype(np.float32) / 32768) <= 1
    assert flat_tops(np.clip(voice(1.0), -0.2, 0.2)) > 10
    assert flat_tops(np.zeros(100, np.float32)) == 0


def test_copies_are_found_among_many_and_chance_makes_none() -> None:
    facts = np.zeros(30, dtype=ITEM)
    sounds = [voice(1.0, seed=seed) for seed in range(30)]
    sounds[21] = np.rint(sounds[4] * 9000).astype(np.float32) / 32768
    sounds[22] = sounds[7]
    for row, samples in enumerate(sounds):
        facts["keys"][row] = peak_keys(samples)
        facts["digest"][row] = (row if row != 22 else 7, 1)
    assert copies(facts) == [(4, 21), (7, 22)]


def test_sound_that_repeats_itself_says_nothing_of_lags(made: Path) -> None:
    corpus = read_corpus(made)
    facts = look_at(0, corpus.pairs, corpus.hinted, how_to_look(corpus, Expected(), close_items=0)).facts
    facts["lag"][0, 0], facts["match"][0, 0], facts["near"][0, 0] = 2400, 0.5, 0.3
    report = Report(corpus.root, dict(corpus.items))
    check_alignment(corpus, facts, report)
    assert abs(as_json(report)["facts"]["alignment"]["largest lag against noisy"]["samples"]) <= 4


def test_real_recordings_are_ready(shared_data: Path, tmp_path: Path) -> None:
    spec = CorpusSpec((SourceSpec(shared_data / "speech"),), shared_data / "noise", shared_data / "rir")
    prepare(spec, tmp_path / "out", Work(max_files=4, num_workers=0, progress=False))
    report: Report = audit(tmp_path / "out", expected=Expected(48000, spec.settings()))
    assert report.ready, str(report)


def assert_said(sentences: list[str], pattern: str) -> None:
    assert any(re.search(pattern, sentence) for sentence in sentences), (pattern, sentences)


def test_a_verdict_of_another_length_does_not_refuse_the_right_one(corpus: Path) -> None:
    assert not audit(corpus, expected=Expected(segment=24000)).ready
    require_sound(corpus, 48000)
    with pytest.raises(CorpusError, match=r"data\.segment is 24000, but the items were made with 48000"):
        require_sound(corpus, 24000)


def test_long_segments_alone_are_predicted_in_their_steps(made: Path) -> None:
    timing = Timing((1.0,) * 4, (1.0,) * 4, (0.0,) * 4, (0.0,) * 4, 0.0, "cpu", 0)
    found = audit(made, run=Run(batch_size=4, epochs=1, gan_epochs=0, items_per_step=8), trial=lambda: timing)
    plain = audit(made, run=Run(batch_size=4, epochs=1, gan_epochs=0), trial=lambda: timing)
    hours = [next(fact.value["value"] for fact in r.facts if fact.name.startswith("1 epochs")) for r in (found, plain)]
    assert hours[0] == pytest.approx(hours[1] / 2, rel=0.2)
