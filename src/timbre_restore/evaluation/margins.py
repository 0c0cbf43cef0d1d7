"""How sure a number is: a mean or a share with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
NORMAL_95 = 1.959964

Numbers = NDArray[np.float64]
Interval = Callable[[Numbers], tuple[float, float]]


@dataclass(frozen=True)
class Margin:
    """Left minus right over `items`, with its 95 % interval."""

    mean: float
    low: float
    high: float
    items: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return not self.low <= 0.0 <= self.high


def margin_of(changes: Numbers, interval: Interval | None = None) -> Margin | None:
    """Mean and interval of values per item; None with fewer than two."""
    if len(changes) < 2:
        return None
    low, high = interval(changes) if interval else bootstrap_interval(changes, None)
    return Margin(float(changes.mean()), low, high, len(changes))


def bootstrap_interval(changes: Numbers, clusters: Sequence[str] | None, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean `[N]`: percentile bootstrap (Efron 1979) over items, or over whole clusters.

    Items of one speaker are not independent; drawing speakers instead of items does not count them twice.
    """
    names = np.asarray(clusters) if clusters is not None else np.arange(len(changes))
    _, group = np.unique(names, return_inverse=True)
    sums, sizes = np.bincount(group, weights=changes), np.bincount(group)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def wilson_interval(hits: Numbers) -> tuple[float, float]:
    """The 95 % interval of a share, of hits 0 or 1 `[N]` (Wilson 1927)."""
    z2, n, share = NORMAL_95**2, len(hits), float(hits.mean())
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = NORMAL_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)
