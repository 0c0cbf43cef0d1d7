"""Selects the validation items to listen to in every epoch: items with a voice in them, from all over the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

LOOKED_AT = 8
"""Number of items of each section of the list that are examined to find one."""
FRAME_SAMPLES = 480
RANGE_DB = 30.0
FLOOR = 1e-6
"""Power of a frame, −60 dBFS, below which it does not count as voice, whatever the loudest frame is."""
USUAL_SHARE = 0.75
"""Typical share of voiced frames: speech has gaps between syllables; sound in every frame is usually a noise floor."""


def choose(items: Any, candidates: Sequence[int], count: int) -> list[int]:
    """`count` of the candidates, one from each section: the one whose clean signal is most like speech over time.

    The result depends only on the list, so every epoch and a resumed run use the same items.
    """
    count = min(count, len(candidates))
    chosen = []
    for part in range(count):
        stretch = candidates[part * len(candidates) // count : (part + 1) * len(candidates) // count]
        looked = stretch[:: max(1, -(-len(stretch) // LOOKED_AT))]
        chosen.append(min(looked, key=lambda index: abs(voiced_share(items[index][1]) - USUAL_SHARE)))
    return chosen


def voiced_share(clean: torch.Tensor) -> float:
    """Share of the frames of `clean` `[1, T]` within 30 dB of the loudest one and above −60 dBFS; 0.0 for silence."""
    frames = clean[0, : clean.shape[-1] // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    power = frames.double().square().mean(dim=1)
    least = max(FLOOR, float(power.max()) * 10.0 ** (-RANGE_DB / 10.0))
    return float((power >= least).double().mean())
