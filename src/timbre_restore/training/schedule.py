"""What a run does when, as a pure function of the place in it, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Plan:
    """When what happens in a run. Places are counted in epochs from its begin, so another batch size changes none."""

    length: float
    """Where it ends, perhaps within an epoch."""
    warmup: float
    gan_start: float
    """Infinite without a game."""
    gan_ramp: float
    final_factor: float
    long_start: float
    """The epoch from which on segments are long ones; infinite without them."""

    def last_batch(self, epoch: int, epoch_steps: int) -> int:
        """How many of an epoch's batches the run goes through."""
        return max(0, min(epoch_steps, round((self.length - epoch) * epoch_steps)))

    def steps_left(self, place: float, epoch_steps: int) -> tuple[int, int]:
        """Steps from this place to the end, without discriminators and with them."""
        end = round(self.length * epoch_steps)
        begin = round(min(self.length, max(place, self.gan_start)) * epoch_steps)
        return max(0, begin - round(place * epoch_steps)), max(0, end - begin)

    def gan(self, place: float) -> bool:
        """Whether discriminators take part."""
        return place >= self.gan_start

    def ramp(self, place: float) -> float:
        """Share of their weights that the adversarial losses have, in [0, 1]."""
        if place < self.gan_start:
            return 0.0
        return min(1.0, (place - self.gan_start) / self.gan_ramp) if self.gan_ramp else 1.0


def plan_of(settings: TrainSettings, length: float | None = None) -> Plan:
    """The plan that the settings describe, for a run of so many epochs.

    A run of another length than `settings.epochs` keeps its shape: each phase has the same share of it. Long segments
    come by whole epochs, as many as are nearest to their share, so a short run may have none; a run of nothing else has
    nothing else.
    """
    length = float(settings.epochs) if length is None else length
    share = length / settings.epochs
    long_epochs = math.ceil(length) if settings.long_alone else round(share * settings.long_epochs)
    return Plan(
        length=length,
        warmup=share * settings.warmup_epochs,
        gan_start=share * settings.gan_start_epoch if settings.has_game else math.inf,
        gan_ramp=share * settings.gan_ramp_epochs,
        final_factor=settings.final_factor,
        long_start=max(0, math.ceil(length) - long_epochs) if long_epochs else math.inf,
    )


def set_learning_rates(state: TrainState, settings: TrainSettings, plan: Plan, place: float, epoch_steps: int) -> float:
    """Set both optimisers' rates for the step at this place; the generator's is returned.

    The discriminators' cosine begins with the GAN, or they would start with what the generator's has left.
    """
    total, step = round(plan.length * epoch_steps), round(place * epoch_steps)
    factor = learning_rate_factor(
        step, total_steps=total, warmup_steps=round(plan.warmup * epoch_steps), final_factor=plan.final_factor
    )
    begin = round(min(plan.gan_start, plan.length) * epoch_steps)
    judges = learning_rate_factor(
        max(0, step - begin), total_steps=max(1, total - begin), warmup_steps=0, final_factor=plan.final_factor
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
