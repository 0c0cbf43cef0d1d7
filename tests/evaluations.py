"""Pairs, suppressors and restorers that are quick to run, for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.voices import RATE, noise
from timbre_restore.audio import FloatArray, write_audio
from timbre_restore.evaluation import Evaluation, Item, evaluate
from timbre_restore.evaluation.systems import Run, Suppress
from timbre_restore.metrics import SETS

QUICK = tuple(metric for metric in SETS["core"] if metric.key not in ("pesq", "estoi"))


def dull(noisy: FloatArray) -> FloatArray:
    """A suppressor that is quick to run: it takes 20 dB above 4 kHz."""
    spectrum = np.fft.rfft(noisy)
    spectrum[int(4_000 * len(noisy) / RATE) :] *= 0.1
    return np.fft.irfft(spectrum, len(noisy)).astype(np.float32)


def halfway(degraded: FloatArray, noisy: FloatArray) -> FloatArray:
    """A restorer that gives half of what was taken back."""
    return degraded + np.float32(0.5) * (noisy - degraded)


def make_pair(folder: Path, stem: str, clean: FloatArray, *, rate: int = RATE, added: float = 0.01) -> None:
    noisy = clean + noise(len(clean) / rate + 1, level=added)[: len(clean)]
    write_audio(folder / "noisy" / f"{stem}.wav", noisy.astype(np.float32), rate)
    write_audio(folder / "clean" / f"{stem}.wav", clean, rate)


@dataclass(frozen=True)
class Given:
    """A suppressor that is a function, and never kept."""

    function: Suppress
    identity: str = ""
    limit_db: float = 100.0
    name: str = "dfn3"

    def open(self) -> Suppress:
        return self.function


@dataclass(frozen=True)
class Made:
    """A system that is a function of (degraded, noisy)."""

    name: str
    function: Callable[[FloatArray, FloatArray], FloatArray]
    foreign: bool = False
    strength: float | None = None
    identity: str = ""

    def open(self) -> Run:
        return lambda given: self.function(given.degraded, given.noisy)


def score(
    items: Sequence[Item],
    suppress: Suppress | None,
    restore: Callable[[FloatArray, FloatArray], FloatArray],
    *,
    extra_systems: Mapping[str, Callable[[FloatArray, FloatArray], FloatArray]] | None = None,
    **more: Any,
) -> Evaluation:
    """Noisy, degraded, restored, and others as functions of (noisy, degraded)."""
    others = [
        Made(name, lambda degraded, noisy, run=run: run(noisy, degraded), foreign=True)  # type: ignore[misc]
        for name, run in (extra_systems or {}).items()
    ]
    source = Given(suppress) if suppress else None
    return evaluate(items, source, [Made("restored", restore), *others], **more)
