"""Levels that the corpus does not hold: one gain per item and epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from timbre_restore.audio import from_db

CEILING = 0.99
"""Of full scale; what preparing keeps to as well."""
_STREAM = 0x6761696E  # tells these draws from the epoch's order, which has the same seed


@dataclass(frozen=True)
class RandomGain:
    """A gain between `-range_db` and `+range_db`, uniform in decibels, drawn from (seed, epoch, item) alone."""

    range_db: float
    seed: int

    def draw(self, epoch: int, index: int, peak: float) -> float:
        """The linear gain of an item whose loudest sample is `peak` (of full scale 1); nothing gets past the ceiling.

        An item that is louder as it is stored stays as it is or gets quieter.
        """
        rng = np.random.default_rng([self.seed, epoch, index, _STREAM])
        gain = from_db(float(rng.uniform(-self.range_db, self.range_db)))
        return min(gain, max(1.0, CEILING / peak)) if peak > 0.0 else gain
