"""How sure a mean is: intervals over the speakers that it was measured on.

Items of one speaker share a voice, so they say less than as many items of different ones: speakers are drawn, each with
all of its items (the cluster bootstrap, Davison & Hinkley 1997, §3.8). With few speakers its percentile interval is too
narrow; so its tails are moved out until a mean of that many normal values would be covered as often as it says
(the expanded percentile interval, Hesterberg 2015, §4.3).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from timbre_restore.student import t_quantile

RESAMPLES = 4000
CONFIDENCE = 0.95
BLOCK_CELLS = 1_000_000
FEWEST = 3
"""Speakers (or items, where nobody knows the speakers): fewer have no interval."""


def interval(
    values: NDArray[np.float64],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """Bounds of the mean of `values` `[N]`, of which equal `clusters` belong together; None where there are too few.

    It covers the choice of speakers and items, and nothing else: not another microphone, not another training run.
    """
    numbers: dict[Hashable, int] = {}
    members = range(len(values)) if clusters is None else clusters
    groups = np.array([numbers.setdefault(member, len(numbers)) for member in members], dtype=np.int64)
    count = len(numbers)
    if count < FEWEST:
        return None
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups)
    rng, chance = np.random.default_rng(seed), np.full(count, 1.0 / count)
    block = max(1, BLOCK_CELLS // count)  # of many thousand items, all draws at once would fill the memory
    draws = (rng.multinomial(count, chance, size=min(block, resamples - at)) for at in range(0, resamples, block))
    means = np.concatenate([(drawn @ sums) / (drawn @ sizes) for drawn in draws])
    tail = expanded_tail(count)
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def expanded_tail(count: int) -> float:
    """The share to leave out on each side with `count` clusters: Φ(−√(n / (n − 1)) · t)."""
    spread = math.sqrt(count / (count - 1)) * t_quantile(CONFIDENCE, count - 1)
    return NormalDist().cdf(-spread)
