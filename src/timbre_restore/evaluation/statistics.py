"""How certain a mean is: intervals over the speakers that it was measured on.

Items of one speaker share a voice, so they say less than the same number of items from different speakers. Speakers are
therefore resampled, each with all of its items (the cluster bootstrap, Davison & Hinkley 1997, §3.8). With few speakers
the percentile interval is too narrow, so its tails are moved out to match Student's t (the expanded percentile
interval, Hesterberg 2015, §4.3). It can't reach beyond the most extreme speaker, which is too close with fewer than
`ENOUGH`: then the interval is Student's, with the jackknife's variance, each speaker left out once (Davison & Hinkley
1997, §2.7). The linearised variance of a ratio of sums (Cochran 1977, §6.3) shrinks around a speaker who has most of
the items; this one does not.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from timbre_restore.student import t_quantile

RESAMPLES = 4000
CONFIDENCE = 0.95
BLOCK_CELLS = 1_000_000
KEPT_CELLS = 4_000_000
ENOUGH = 6
FEWEST = 3
"""With fewer speakers (or items, if the speakers are unknown) there is no interval."""


def interval(
    values: NDArray[np.float64],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """Bounds of the mean of `values` `[N]`, grouped by equal `clusters`; None if there are too few groups.

    The interval covers the choice of speakers and items, and nothing else: not another microphone or training run.
    """
    numbers: dict[Hashable, int] = {}
    members = range(len(values)) if clusters is None else clusters
    groups = np.array([numbers.setdefault(member, len(numbers)) for member in members], dtype=np.int64)
    count = len(numbers)
    if count < FEWEST:
        return None
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups)
    if count < ENOUGH:
        mean = sums.sum() / sizes.sum()
        without = (sums.sum() - sums) / (sizes.sum() - sizes)
        reach = t_quantile(CONFIDENCE, count - 1) * math.sqrt((count - 1) * float(np.var(without)))
        return float(mean - reach), float(mean + reach)
    means = np.concatenate([(drawn @ sums) / (drawn @ sizes) for drawn in _draws(count, seed, resamples)])
    tail = expanded_tail(count)
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def _draws(count: int, seed: int, resamples: int) -> Iterable[NDArray[np.float64]]:
    """How often each of `count` clusters is drawn, a row per resample; cached, since a report reuses them."""
    return _kept_draws(count, seed, resamples) if count * resamples <= KEPT_CELLS else _drawn(count, seed, resamples)


@lru_cache(maxsize=4)
def _kept_draws(count: int, seed: int, resamples: int) -> tuple[NDArray[np.float64], ...]:
    return tuple(_drawn(count, seed, resamples))


def _drawn(count: int, seed: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    rng, chance = np.random.default_rng(seed), np.full(count, 1.0 / count)
    block = max(1, BLOCK_CELLS // count)  # with many thousands of items, all draws at once would fill the memory
    for at in range(0, resamples, block):
        yield rng.multinomial(count, chance, size=min(block, resamples - at)).astype(np.float64)


def expanded_tail(count: int) -> float:
    """The share to cut off on each side with `count` clusters: Φ(−√(n / (n − 1)) · t)."""
    spread = math.sqrt(count / (count - 1)) * t_quantile(CONFIDENCE, count - 1)
    return NormalDist().cdf(-spread)
