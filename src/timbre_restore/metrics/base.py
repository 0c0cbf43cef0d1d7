"""What every metric shares: its description, its signature, the level of an item, and 'n/a' with a reason.

A metric takes `(estimate, reference)`, both float `[T]` at 48 kHz, equally long and aligned, and returns a number
or raises `NotComputableError`. `score_pair` turns that into a `Score`, so that a number that does not exist is
counted with its reason instead of vanishing from a mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, active_rms, from_db, to_db

TARGET_LEVEL_DBFS = -26.0
# Below this active level a signal holds no speech, only dither and rounding: levelling it would score the dither.
SILENCE_DBFS = -80.0


class NotComputableError(Exception):
    """This pair has no value of this metric; the message is the reason that a report shows."""


@dataclass(frozen=True)
class Metric:
    """One number about an output and its clean reference.

    `rate_hz` is the rate at which the metric listens: it hears nothing above half of it. `remark` is what a report
    writes beside a metric that is deaf to the upper octaves, which are the ones that suppression takes first.
    `needs_rate_hz` is the lowest rate of a recording that holds what the metric looks at.
    """

    key: str
    name: str
    unit: str
    better: Literal["higher", "lower"]
    rate_hz: int
    compute: Callable[[FloatArray, FloatArray], float]
    needs_rate_hz: int = 0

    @property
    def remark(self) -> str:
        """'at 16 kHz' and the like, or nothing for a metric that hears the whole band."""
        return "" if self.rate_hz >= SAMPLE_RATE_HZ else f"at {self.rate_hz // 1000} kHz"


@dataclass(frozen=True)
class Score:
    """A value, or None with the reason why there is none."""

    value: float | None
    reason: str | None = None


def score_pair(estimate: FloatArray, reference: FloatArray, metrics: Iterable[Metric]) -> dict[str, Score]:
    """Every metric of one pair by its key. Both `[T]`, 48 kHz, already at the item's common level.

    Raises ValueError when the lengths differ: cutting one of them here would hide a delay.
    """
    if estimate.ndim != 1 or estimate.shape != reference.shape:
        raise ValueError(f"a pair must be two [T] of one length, got {estimate.shape} and {reference.shape}")
    if not np.isfinite(estimate).all():
        return {metric.key: Score(None, "the output holds NaN or infinite samples") for metric in metrics}
    return {metric.key: _score(metric, estimate, reference) for metric in metrics}


def _score(metric: Metric, estimate: FloatArray, reference: FloatArray) -> Score:
    try:
        value = metric.compute(estimate, reference)
    except NotComputableError as exc:
        return Score(None, str(exc))
    return Score(float(value)) if np.isfinite(value) else Score(None, f"the result is {value}")


def item_gain(reference: FloatArray) -> float:
    """The one gain of an item: brings the clean reference `[T]` to −26 dBFS of active speech; 1.0 for silence.

    It goes to every signal of the item. Levelling each signal alone would undo part of the suppression that the
    metrics are there to see.
    """
    return 1.0 if is_silent(reference) else from_db(TARGET_LEVEL_DBFS) / active_rms(reference)


def is_silent(samples: NDArray[np.floating]) -> bool:
    """Whether `[T]` has no active part above −80 dBFS."""
    return to_db(active_rms(np.asarray(samples, dtype=np.float32))) < SILENCE_DBFS


def require_speech(estimate: FloatArray, reference: FloatArray) -> None:
    """Raise `NotComputableError` when either signal `[T]` is silent."""
    if is_silent(reference):
        raise NotComputableError("the reference is silent")
    if is_silent(estimate):
        raise NotComputableError("the output is silent")
