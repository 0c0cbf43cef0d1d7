"""Random changes that training makes to stored items, drawn from (seed, epoch, item) only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from timbre_restore.audio import from_db

CEILING = 0.99
"""Of full scale; `prepare` uses the same ceiling."""
# These separate the draws from one another, and from the epoch's order, which has the same seed.
_GAIN, _BLACK_BOX, _CUT = 0x6761696E, 0x626F78, 0x637574
CUT_GRID = 512
"""Cuts start at multiples of it: the hop of the longest common window, so that spectra can be cut by frames."""


@dataclass(frozen=True)
class RandomGain:
    """A gain between `-range_db` and `+range_db`, uniform in decibels, drawn from (seed, epoch, item) only."""

    range_db: float
    seed: int

    def draw(self, epoch: int, index: int, peak: float) -> float:
        """The linear gain of an item whose loudest sample is `peak` (full scale 1); it never exceeds the ceiling.

        An item stored above the ceiling keeps its level or gets quieter.
        """
        rng = np.random.default_rng([self.seed, epoch, index, _GAIN])
        gain = from_db(float(rng.uniform(-self.range_db, self.range_db)))
        return min(gain, max(1.0, CEILING / peak)) if peak > 0.0 else gain


@dataclass(frozen=True)
class BlackBox:
    """Selects a share of the items in each epoch to train without hints, as behind a black-box suppressor."""

    share: float
    seed: int

    def draw(self, epoch: int, index: int) -> bool:
        """Whether this item's hints are withheld in this epoch."""
        return bool(np.random.default_rng([self.seed, epoch, index, _BLACK_BOX]).random() < self.share)


def draw_cut(seed: int, epoch: int, index: int, segment: int, length: int) -> int:
    """Where to cut `length` samples out of an item of `segment`, on the grid; drawn from (seed, epoch, item) only."""
    places = max(0, segment - length) // CUT_GRID + 1
    return int(np.random.default_rng([seed, epoch, index, _CUT]).integers(places)) * CUT_GRID
