"""How certain a number is: a mean or a share with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timbre_restore.evaluation.statistics import interval

NORMAL_95 = 1.959964

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Margin:
    """Left minus right over `items`, with its 95 % interval."""

    mean: float
    low: float
    high: float
    items: int

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return not self.low <= 0.0 <= self.high


def margin_of(changes: Numbers, voices: Sequence[str] | None) -> Margin | None:
    """Mean and interval of values per item, by speaker if the file names them; None if there are too few."""
    bounds = interval(changes, voices)
    return Margin(float(changes.mean()), *bounds, len(changes)) if bounds else None


def wilson_interval(hits: Numbers) -> tuple[float, float]:
    """The 95 % interval of a share, from hits of 0 or 1 `[N]` (Wilson 1927)."""
    z2, n, share = NORMAL_95**2, len(hits), float(hits.mean())
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = NORMAL_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)
