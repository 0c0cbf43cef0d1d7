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
    spread = math.sqrt(count / (count - 1)) * student_quantile(0.5 + CONFIDENCE / 2, count - 1)
    return NormalDist().cdf(-spread)


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t (Abramowitz & Stegun 26.7.5; exact for one and two degrees of freedom)."""
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        return (2 * probability - 1) * math.sqrt(2 / (4 * probability * (1 - probability)))
    z = NormalDist().inv_cdf(probability)
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + g1 / freedom + g2 / freedom**2 + g3 / freedom**3 + g4 / freedom**4
