"""The schedule of a run as a pure function of the position in it, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timbre_restore.training.settings import TrainSettings
    from timbre_restore.training.state import TrainState


def learning_rate_factor(step: int, *, total_steps: int, warmup_steps: int, final_factor: float) -> float:
    """Learning rate at `step` (from 0) as a share of the peak rate.

    Linear from 1/warmup to 1, then a half cosine down to `final_factor` at the last step (Loshchilov & Hutter 2017,
    eq. 5, without restarts). The warm-up is limited to the length of the run.
    """
    warmup_steps = min(warmup_steps, total_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return final_factor + (1.0 - final_factor) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Plan:
    """When each phase of a run happens. Places are in epochs from the start, so they don't depend on the batch size."""

    length: float
    """Where the run ends, possibly within an epoch."""
    warmup: float
    gan_start: float
    """Infinite without a GAN."""
    gan_ramp: float
    final_factor: float
    long_start: float
    """The first epoch that uses long segments; infinite if there are none."""

    def last_batch(self, epoch: int, epoch_steps: int) -> int:
        """How many batches of the epoch the run uses."""
        return max(0, min(epoch_steps, round((self.length - epoch) * epoch_steps)))

    def steps_left(self, place: float, epoch_steps: int) -> tuple[int, int]:
        """Steps from `place` to the end, without discriminators and with them."""
        end = round(self.length * epoch_steps)
        begin = round(min(self.length, max(place, self.gan_start)) * epoch_steps)
        return max(0, begin - round(place * epoch_steps)), max(0, end - begin)

    def gan(self, place: float) -> bool:
        """Whether discriminators take part at `place`."""
        return place >= self.gan_start

    def ramp(self, place: float) -> float:
        """Factor in [0, 1] for the weights of the adversarial losses at `place`."""
        if place < self.gan_start:
            return 0.0
        return min(1.0, (place - self.gan_start) / self.gan_ramp) if self.gan_ramp else 1.0


def plan_of(settings: TrainSettings, length: float | None = None) -> Plan:
    """The plan that the settings describe, for a run of `length` epochs (by default `settings.epochs`).

    A run with a length other than `settings.epochs` keeps its proportions: each phase has the same share. Long segments
    take up whole epochs, rounded to the nearest number, so a short run may have none; a run that consists only of long
    segments stays that way at any length.
    """
    length = float(settings.epochs) if length is None else length
    share = length / settings.epochs
    long_epochs = math.ceil(length) if settings.long_alone else round(share * settings.long_epochs)
    return Plan(
        length=length,
        warmup=share * settings.warmup_epochs,
        gan_start=share * settings.gan_start_epoch if settings.has_gan else math.inf,
        gan_ramp=share * settings.gan_ramp_epochs,
        final_factor=settings.final_factor,
        long_start=max(0, math.ceil(length) - long_epochs) if long_epochs else math.inf,
    )


def set_learning_rates(state: TrainState, settings: TrainSettings, plan: Plan, place: float, epoch_steps: int) -> float:
    """Set the learning rates of both optimisers for the step at `place`; return the generator's.

    The discriminators' cosine starts with the GAN; otherwise they would start at an already decayed rate.
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
    """The decay at `step`: small at first, (1 + s) / (10 + s), so that the average forgets the untrained start."""
    return min(decay, (1 + step) / (10 + step))
