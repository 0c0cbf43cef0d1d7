"""Overfitting one batch: any combination of network, learning rate and losses that can learn at all can learn this.

It says nothing about the quality of a voice. It detects within a minute what would otherwise cost an evening: a gate
without a gradient, a learning rate of zero, a loss that pulls in the wrong direction, targets that do not belong to
their inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from timbre_restore.errors import ConfigError
from timbre_restore.training.data import RunData
from timbre_restore.training.device import open_accelerator
from timbre_restore.training.settings import TrainSettings
from timbre_restore.training.state import create_state, place_state
from timbre_restore.training.steps import train_step

STEPS = 150
"""Maximum number of steps."""
ITEMS = 4
"""Maximum number of items: a few items can be memorised, and a step is quick on a CPU."""
SHARE = 0.88
"""Share of the first step's total that must be reached."""
SAID_EVERY_STEPS = 25


@dataclass(frozen=True)
class Overfit:
    """The losses by name, including their weighted `total`, in the first and in the last step."""

    items: int
    steps: int
    start: dict[str, float]
    end: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether the total fell to the required share; NaN has not fallen."""
        return self.end["total"] <= SHARE * self.start["total"]

    @property
    def sentence(self) -> str:
        """A message for a failure: what was expected, and what to check."""
        share = self.end["total"] / self.start["total"] if self.start["total"] else math.nan
        return (
            f"one batch could not be learned: after {self.steps} steps the total is {share:.3f} of its initial value, "
            f"expected at most {SHARE:g}. Check training.learning_rate (too low: nothing moves; too high: the loss "
            "jumps), training.loss_weights (which losses are active), frozen parts of the network, and the items "
            "('timbre-restore audit')."
        )


def overfit(settings: TrainSettings, *, say: Callable[[str], None] = lambda _: None) -> Overfit:
    """Train on the first batch alone, without discriminators or validation, until it is learned or `STEPS` are done.

    The configured learning rate is used from the first step on. Nothing is written. Raises `CorpusError` for items that
    can't be read, and `ConfigError` for a run that starts from trained weights, which may be unable to improve by the
    required share.
    """
    if settings.start_from is not None:
        learned = "training.start_from (--init) starts from trained ones; omit it, or use --trial instead"
        raise ConfigError([f"--overfit: tests whether fresh weights can learn, but {learned}."])
    settings = replace(settings, batch_size=min(ITEMS, settings.batch_size), num_workers=0, long_epochs=0)
    accelerator = open_accelerator(settings)
    state = create_state(settings)
    data = RunData(settings, accelerator, with_hints=state.ema.takes_hints)
    place_state(state, accelerator)
    signals = next(iter(data.train))
    start: dict[str, float] = {}
    end: dict[str, float] = {}
    while state.step < STEPS:
        scalars = train_step(state, accelerator, settings, data.batches, 0, signals, gan=False)
        state.step += 1
        end = {name: float(value) for name, value in scalars.items() if name != "gradient_norm"}
        start = start or end
        if state.step % SAID_EVERY_STEPS == 0:
            say(f"step {state.step}: " + ", ".join(f"{name} {value:.4f}" for name, value in end.items()))
        if not math.isfinite(end["total"]) or end["total"] <= SHARE * start["total"]:
            break
    return Overfit(len(signals[0]), state.step, start, end)
