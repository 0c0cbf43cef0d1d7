"""The learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, *, total_steps: int, warmup_steps: int, final_factor: float) -> float:
    """Share of the peak learning rate at `step` (from 0).

    Linear from 1/warmup to 1, then a half cosine down to `final_factor` at the last step (Loshchilov & Hutter 2017,
    eq. 5, without restarts). Warm-up is cut to the run.
    """
    warmup_steps = min(warmup_steps, total_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return final_factor + (1.0 - final_factor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def ema_decay(step: int, decay: float) -> float:
    """The decay at `step`: small at first, so that the mean forgets the untrained start ((1 + s) / (10 + s))."""
    return min(decay, (1 + step) / (10 + step))
