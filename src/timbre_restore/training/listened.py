"""Which validation items a run gives to the ear in every epoch: some with a voice in them, from all over the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

LOOKED_AT = 8
"""Items of each stretch of the list that are read to find one."""
FRAME_SAMPLES = 480
RANGE_DB = 30.0


def choose(items: Any, candidates: Sequence[int], count: int) -> list[int]:
    """`count` of the candidates, one from each stretch of them: the one whose clean side is voice for longest.

    Item by item the same for the same list, so that every epoch and a resumed run give the same ones.
    """
    count = min(count, len(candidates))
    chosen = []
    for part in range(count):
        stretch = candidates[part * len(candidates) // count : (part + 1) * len(candidates) // count]
        looked = stretch[:: max(1, -(-len(stretch) // LOOKED_AT))]
        chosen.append(max(looked, key=lambda index: voiced_share(items[index][1])))
    return chosen


def voiced_share(clean: torch.Tensor) -> float:
    """Share of the frames of `[1, T]` within 30 dB of the loudest one; 0.0 for silence."""
    frames = clean[0, : clean.shape[-1] // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    power = frames.double().square().mean(dim=1)
    loudest = float(power.max())
    if loudest <= 1e-9:  # −90 dBFS: what 16 bits make of nothing
        return 0.0
    return float((power > loudest * 10.0 ** (-RANGE_DB / 10.0)).double().mean())
