"""Which validation items a run gives to the ear in every epoch: some with a voice in them, from all over the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

LOOKED_AT = 8
"""Items of each stretch of the list that are read to find one."""
FRAME_SAMPLES = 480
RANGE_DB = 30.0
FLOOR = 1e-6
"""Power of a frame, −60 dBFS, under which it is no voice, whatever the loudest one is."""
USUAL_SHARE = 0.75
"""Speech has gaps between its syllables: what fills every frame is more often a floor of noise."""


def choose(items: Any, candidates: Sequence[int], count: int) -> list[int]:
    """`count` of the candidates, one from each stretch of them: the one whose clean side is most like speech in time.

    The same for the same list, so that every epoch and a resumed run give the same ones to the ear.
    """
    count = min(count, len(candidates))
    chosen = []
    for part in range(count):
        stretch = candidates[part * len(candidates) // count : (part + 1) * len(candidates) // count]
        looked = stretch[:: max(1, -(-len(stretch) // LOOKED_AT))]
        chosen.append(min(looked, key=lambda index: abs(voiced_share(items[index][1]) - USUAL_SHARE)))
    return chosen


def voiced_share(clean: torch.Tensor) -> float:
    """Share of the frames of `[1, T]` within 30 dB of the loudest one and over −60 dBFS; 0.0 for silence."""
    frames = clean[0, : clean.shape[-1] // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    power = frames.double().square().mean(dim=1)
    least = max(FLOOR, float(power.max()) * 10.0 ** (-RANGE_DB / 10.0))
    return float((power >= least).double().mean())
