"""Whether an audit finds what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.corpora import Run, spec_of
from tests.voices import FloatArray
from timbre_restore.corpus import SourceSpec, audit
from timbre_restore.corpus.table import read_table
from timbre_restore.errors import CorpusError


def test_audit_finds_a_sound_corpus_ready(real: Path) -> None:
    report = audit(real)
    assert report.ready, str(report)
    assert report.items == {"train": 8, "val": 4}
    assert report.correlated > 0 and abs(report.largest_lag) <= 48
    assert str(report).endswith("READY")


def late(path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path, np.concatenate([np.zeros(480, np.int16), samples[:-480]]), rate)


def rewritten(change: Callable[[FloatArray], FloatArray], rate: int = 48000) -> Callable[[Path], None]:
    return lambda path: soundfile.write(path, change(soundfile.read(path, dtype="float32")[0]), rate)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (Path.unlink, "missing"),
        (lambda path: path.write_bytes(b"RIFF"), "can't be read"),
        (rewritten(lambda x: x, 44100), "mono at 48000"),
        (rewritten(lambda x: x[:-480]), "another length"),
        (rewritten(lambda x: np.clip(x * 1e4, -1, 1)), "clipped"),
        (late, "not aligned"),
    ],
)
def test_audit_finds_every_broken_promise(
    quick: Run, tmp_path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    quick()
    out = tmp_path / "out"
    best = max(read_table(out / "items.tsv"), key=lambda row: float(row["snr_db"]))
    assert audit(out).ready
    harm(out / best["degraded"])
    report = audit(out)
    assert not report.ready
    assert reason in " ".join(report.reasons)
    assert best["item"] in str(report)


def test_audit_compares_lists_and_rows(quick: Run, tmp_path: Path) -> None:
    quick()
    path = tmp_path / "out" / "train.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[1], lines[0], *lines[2:]]))
    assert "don't agree (first at line 1)" in str(audit(tmp_path / "out"))
    path.write_text("no pair\n")
    assert "train.txt, line 1: expected" in str(audit(tmp_path / "out"))


def test_audit_warns_of_speakers_on_both_sides(quick: Run, sounds: Path, tmp_path: Path) -> None:
    quick(spec=replace(spec_of(sounds), sources=(SourceSpec(sounds / "speech" / "ann"),)))
    report = audit(tmp_path / "out")
    assert report.ready
    assert any("speakers are in train and in val" in warning for warning in report.warnings)


def test_audit_without_a_corpus_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="prepare the corpus first"):
        audit(tmp_path)
