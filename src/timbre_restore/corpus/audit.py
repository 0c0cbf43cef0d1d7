"""Whether a corpus holds what it lists. Only broken promises make it NOT READY; what is merely odd is a warning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import (
    SAMPLE_RATE_HZ,
    Pair,
    active_rms,
    lag_samples,
    parse_list,
    read_audio,
    read_info,
    rms,
    to_db,
)
from timbre_restore.corpus.folder import AUDIO_ROLES
from timbre_restore.corpus.split import SPLITS, Split
from timbre_restore.corpus.table import read_table
from timbre_restore.errors import AudioFileError, CorpusError
from timbre_restore.suppressors import DFN3_LATENCY_SAMPLES

FloatArray = NDArray[np.float32]

MOST_CORRELATED = 2000
"""Items whose lag is looked at, spread over the lists: a slip of the maker's shows in any of them."""
LAG_TOLERANCE = 48  # 1 ms: what reverberation and a half-eaten voice move a peak by
ACTIVE_DBFS = -60.0
SILENT_DBFS = -80.0
SHOWN = 5


@dataclass
class AuditReport:
    """What was found. `ready` is False when a reason stands against training on it."""

    root: Path
    items: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    speakers: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Lowest and highest of what was drawn."""
    correlated: int = 0
    """Items active on both sides, whose lag was measured."""
    largest_lag: int = 0
    """In samples, of degraded behind clean; positive is late."""
    silent: int = 0
    """Items without any voice in clean."""
    emptied: int = 0
    """Items with a voice in clean of which the suppressor left nothing."""

    @property
    def ready(self) -> bool:
        """Whether every promise is kept."""
        return not self.reasons

    def __str__(self) -> str:
        """The report for a person to read."""
        counts = ", ".join(f"{self.items[split]} {split} ({self.speakers.get(split, 0)} speakers)" for split in SPLITS)
        lines = [f"{self.root}: {counts}; {self.skipped} takes skipped"]
        lines += [f"{name}: {low:g} to {high:g}" for name, (low, high) in self.ranges.items()]
        lines.append(f"largest lag of degraded against clean: {self.largest_lag} samples in {self.correlated} items")
        lines.append(f"{self.silent} items without voice; {self.emptied} of which the suppressor left nothing")
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [f"broken: {reason}" for reason in self.reasons]
        return "\n".join([*lines, "READY" if self.ready else "NOT READY"])


def audit(output_dir: Path) -> AuditReport:
    """Look over a prepared corpus: every listed file, the split, the draws. Raises `CorpusError` without lists."""
    root = output_dir.absolute()
    report = AuditReport(root)
    listed = {split: _listed(root, split, report) for split in SPLITS}
    try:
        rows, left_out = read_table(root / "items.tsv"), read_table(root / "skipped.tsv")
    except (OSError, ValueError) as exc:
        raise CorpusError(f"{root}: its tables can't be read ({exc}); prepare the corpus again.") from exc
    report.skipped = sum(row["kind"] == "recording" for row in left_out)
    _compare_with_rows(listed, rows, report)
    _look_at_split(rows, report)
    _look_at_files([pair for split in SPLITS for pair in listed[split]], report)
    if not report.items["train"]:
        report.reasons.append("train.txt lists nothing")
    if not report.items["val"]:
        report.warnings.append("val.txt lists nothing, so no validation is possible")
    return report


def _listed(root: Path, split: str, report: AuditReport) -> list[Pair]:
    """The pair of each well-formed line."""
    path = root / f"{split}.txt"
    pairs, problems = parse_list(path)
    report.reasons += [f"{path.name}, {problem}" for problem in problems]
    report.items[split] = len(pairs)
    return pairs


def _compare_with_rows(listed: Mapping[Split, list[Pair]], rows: list[dict[str, str]], report: AuditReport) -> None:
    """Lists and rows name the same items in the same order (folders may have more than one name, so ends count)."""
    for split in SPLITS:
        expected = [(row["degraded"], row["clean"]) for row in rows if row["split"] == split]
        named = [(_end(pair.degraded), _end(pair.clean)) for pair in listed[split]]
        if named != expected:
            same = min(len(named), len(expected))
            line = 1 + next((i for i in range(same) if named[i] != expected[i]), same)
            report.reasons.append(f"{split}.txt and items.tsv don't agree (first at line {line})")


def _end(path: Path) -> str:
    """Split, role and name."""
    return "/".join(path.parts[-3:])


def _look_at_split(rows: list[dict[str, str]], report: AuditReport) -> None:
    """Who and what is on both sides, and how far the draws reach."""
    for column in ("speaker", "noise", "room"):
        sides = {split: {row[column] for row in rows if row["split"] == split} - {""} for split in SPLITS}
        if column == "speaker":
            report.speakers = {split: len(names) for split, names in sides.items()}
        both = sorted(sides["train"] & sides["val"])
        if both:
            report.warnings.append(f"{len(both)} {column}s are in train and in val, e.g. {', '.join(both[:SHOWN])}")
    for column in ("speech_level_dbfs", "snr_db", "bandwidth_hz"):
        values = [float(row[column]) for row in rows]
        if values:
            report.ranges[column] = (min(values), max(values))


def _look_at_files(pairs: list[Pair], report: AuditReport) -> None:
    broken: Counter[str] = Counter()
    examples: dict[str, str] = {}
    segment: int | None = None
    step = max(1, -(-len(pairs) // MOST_CORRELATED))
    for number, pair in enumerate(pairs):
        signals: dict[str, FloatArray] = {}
        for role, path in zip(AUDIO_ROLES, (pair.degraded, pair.clean, pair.noisy), strict=True):
            length = None if segment is None else segment + (DFN3_LATENCY_SAMPLES if role == "noisy" else 0)
            fault, samples = _read(path, length)
            if segment is None and role == "degraded" and not fault:
                segment = len(samples)
            if fault:
                broken[fault] += 1
                examples.setdefault(fault, str(path))
            else:
                signals[role] = samples
        if "degraded" in signals and "clean" in signals:
            _look_at_pair(
                signals["degraded"], signals["clean"], number % step == 0, pair.clean, report, broken, examples
            )
    report.reasons += [f"{count} files {fault}, e.g. {examples[fault]}" for fault, count in broken.items()]


def _read(path: Path, length: int | None) -> tuple[str, FloatArray]:
    """What is wrong with a file (nothing: ''), and its samples `[T]`."""
    nothing = np.zeros(0, dtype=np.float32)
    if not path.is_file():
        return "are missing", nothing
    try:
        info = read_info(path)
        samples, _ = read_audio(path)
    except AudioFileError:
        return "can't be read", nothing
    if info.sample_rate_hz != SAMPLE_RATE_HZ or info.channels != 1:
        return f"are not mono at {SAMPLE_RATE_HZ} Hz", nothing
    if length is not None and info.samples != length:
        return "have another length than the rest", nothing
    if np.max(np.abs(samples), initial=0.0) >= 32767 / 32768:
        return "are clipped", nothing
    return "", samples[0]


def _look_at_pair(
    degraded: FloatArray,
    clean: FloatArray,
    correlate: bool,
    path: Path,
    report: AuditReport,
    broken: Counter[str],
    examples: dict[str, str],
) -> None:
    voice, left = to_db(active_rms(clean)), to_db(active_rms(degraded))
    report.silent += voice < SILENT_DBFS
    report.emptied += voice >= ACTIVE_DBFS > left
    if not correlate or min(voice, left) < ACTIVE_DBFS:
        return
    lag = lag_samples(degraded, clean)
    report.correlated += 1
    at_lag, at_zero = _correlation(degraded, clean, lag), _correlation(degraded, clean, 0)
    if at_lag < 0.5:
        return  # too little of the voice is left to say where it lies
    if abs(lag) > abs(report.largest_lag):
        report.largest_lag = lag
    if abs(lag) > LAG_TOLERANCE and at_lag > 1.2 * at_zero:
        broken["are not aligned with their clean side"] += 1
        examples.setdefault("are not aligned with their clean side", f"{path} (lag {lag} samples)")


def _correlation(signal: FloatArray, reference: FloatArray, lag: int) -> float:
    """Normalised correlation when `signal` lies `lag` samples late."""
    length = len(signal) - abs(lag)
    one, other = signal[max(lag, 0) :][:length], reference[max(-lag, 0) :][:length]
    scale = rms(signal) * rms(reference) * len(signal)
    return float(np.dot(one.astype(np.float64), other)) / scale if scale else 0.0
