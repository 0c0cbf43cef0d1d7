"""The learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timbre_restore.training.settings import TrainSettings
    from timbre_restore.training.state import TrainState


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


def set_learning_rates(state: TrainState, settings: TrainSettings, epoch_steps: int, batch: int) -> float:
    """Set both optimisers' rates for this batch of the epoch; the generator's is returned.

    The place in the run is counted in epochs, so that a run resumed with another batch size keeps its curve.
    The discriminators' cosine begins with the GAN, or they would start with what the generator's has left.
    """
    total, begin = settings.epochs * epoch_steps, settings.gan_start_epoch * epoch_steps
    warmup, final = settings.warmup_epochs * epoch_steps, settings.final_factor
    place = state.epoch * epoch_steps + batch
    factor = learning_rate_factor(place, total_steps=total, warmup_steps=warmup, final_factor=final)
    judges = learning_rate_factor(
        max(0, place - begin), total_steps=max(1, total - begin), warmup_steps=0, final_factor=final
    )
    for optimizer, rate in (
        (state.generator_optimizer, settings.learning_rate * factor * state.rate_factor),
        (state.discriminator_optimizer, settings.discriminator_learning_rate * judges * state.rate_factor),
    ):
        for group in optimizer.param_groups:
            group["lr"] = rate
    return settings.learning_rate * factor * state.rate_factor


def ema_decay(step: int, decay: float) -> float:
    """The decay at `step`: small at first, so that the mean forgets the untrained start ((1 + s) / (10 + s))."""
    return min(decay, (1 + step) / (10 + step))
