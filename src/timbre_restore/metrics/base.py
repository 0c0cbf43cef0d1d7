"""What all metrics share: their description, their signature, the level of an item, and 'n/a' with a reason.

A metric takes `(estimate, reference)`, both float `[T]` at 48 kHz, of equal length and aligned (or the estimate alone,
if it needs no reference), and returns a number or raises `NotComputableError`. `score_pair` and `score_alone` turn that
into a `Score`, so that a missing value is counted with its reason instead of silently dropping out of a mean.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, active_rms, from_db, to_db
from timbre_restore.metrics.sharing import NotComputableError, PassingError, sharing

TARGET_LEVEL_DBFS = -26.0
# Below this active level a signal holds no speech, only dither and rounding; levelling it would score the dither.
SILENCE_DBFS = -80.0


@dataclass(frozen=True)
class Metric:
    """One number about an output, against its clean reference or alone.

    `better` says where the best value lies: at the top, at the bottom, or at zero for a signed metric. `rate_hz` is the
    rate at which the metric listens: it hears nothing above half of it. `needs_rate_hz` is the lowest sample rate of a
    recording that contains what the metric measures. `cost_s` is a rough number of CPU seconds for 10 s of audio on one
    core, once the package is loaded; metrics of one `group` share a computation and cost that together. Values in % are
    fractions; `most` is the largest plausible one.
    """

    key: str
    name: str
    unit: str
    better: Literal["higher", "lower", "zero"]
    rate_hz: int
    compute: Callable[..., float]
    needs_rate_hz: int = 0
    needs_reference: bool = True
    cost_s: float = 0.0
    group: str = ""
    most: float = 1.0

    @property
    def remark(self) -> str:
        """For example 'at 16 kHz', or an empty string for a metric that hears the whole band."""
        return "" if self.rate_hz >= SAMPLE_RATE_HZ else f"at {self.rate_hz // 1000} kHz"

    @property
    def about(self) -> str:
        """Formula, source, range and what it is deaf to."""
        return inspect.getdoc(self.compute) or ""


@dataclass(frozen=True)
class Score:
    """A value, or None and the reason why there is none."""

    value: float | None
    reason: str | None = None
    passing: bool = False
    """Whether the reason may be gone next time, so that the result must not be cached."""


def score_pair(estimate: FloatArray, reference: FloatArray, metrics: Iterable[Metric]) -> dict[str, Score]:
    """Score one pair with every metric, by key. Both `[T]`, 48 kHz, already at the item's common level.

    Raises ValueError if the lengths differ: trimming one of them here would hide a delay.
    """
    if estimate.ndim != 1 or estimate.shape != reference.shape:
        raise ValueError(f"a pair must be two [T] arrays of one length, got {estimate.shape} and {reference.shape}")
    if reason := _unusable(estimate, "output") or _unusable(reference, "reference"):
        return {metric.key: Score(None, reason) for metric in metrics}
    with sharing():
        return {m.key: _score(m, estimate, reference) if m.needs_reference else _score(m, estimate) for m in metrics}


def score_alone(estimate: FloatArray, metrics: Iterable[Metric]) -> dict[str, Score]:
    """Score a recording without a reference, by key; metrics that need a reference are n/a. `[T]`, 48 kHz."""
    if estimate.ndim != 1:
        raise ValueError(f"a recording must be one [T] array, got {estimate.shape}")
    if reason := _unusable(estimate, "output"):
        return {metric.key: Score(None, reason) for metric in metrics}
    without = Score(None, "it needs a reference")
    with sharing():
        return {m.key: without if m.needs_reference else _score(m, estimate) for m in metrics}


def _unusable(samples: FloatArray, what: str) -> str:
    if not len(samples):
        return f"the {what} is empty"
    return "" if np.isfinite(samples).all() else f"the {what} holds NaN or infinite samples"


def _score(metric: Metric, *signals: FloatArray) -> Score:
    try:
        value = metric.compute(*signals)
    except NotComputableError as exc:
        return Score(None, str(exc), isinstance(exc, PassingError))
    return Score(float(value)) if np.isfinite(value) else Score(None, f"the result is {value}")


def item_gain(reference: FloatArray) -> float:
    """The common gain of an item, which brings the clean reference `[T]` to −26 dBFS of active speech; 1.0 for silence.

    Apply it to every signal of the item. Levelling each signal separately would undo part of the suppression that the
    metrics are meant to measure.
    """
    return 1.0 if is_silent(reference) else from_db(TARGET_LEVEL_DBFS) / active_rms(reference)


def is_silent(samples: NDArray[np.floating]) -> bool:
    """Whether `[T]` has no active part above −80 dBFS."""
    return to_db(active_rms(np.asarray(samples, dtype=np.float32))) < SILENCE_DBFS


def require_speech(estimate: FloatArray, reference: FloatArray | None = None) -> None:
    """Raise `NotComputableError` if a signal `[T]` is silent."""
    if reference is not None and is_silent(reference):
        raise NotComputableError("the reference is silent")
    if is_silent(estimate):
        raise NotComputableError("the output is silent")
