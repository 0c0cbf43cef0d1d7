"""Means with intervals. Listeners are the clusters: each gives one mean, and Student's t describes their spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from timbre_restore.student import t_quantile

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over listeners and its 95 % interval, which is None if there are fewer than two of them."""

    mean: float
    low: float | None
    high: float | None
    listeners: int


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean ± t · s / √n over one value per listener."""
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return Estimate(mean, None, None, count)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    reach = t_quantile(confidence, count - 1) * spread / math.sqrt(count)
    return Estimate(mean, mean - reach, mean + reach, count)
