"""One batch, again and again: a network, a rate and losses that can learn at all learn this.

It says nothing about a voice. It tells in a minute what else costs an evening: a gate without a gradient, a rate of
nothing, a loss that pulls elsewhere, targets that do not belong to their inputs.
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
from timbre_restore.training.steps import whole_step

STEPS = 150
"""At most."""
ITEMS = 4
"""At most: each of a few items can be learned by heart, and a step on a CPU is over soon."""
SHARE = 0.88
"""Of the first step's total, what has to be reached."""
SAID_EVERY_STEPS = 25


@dataclass(frozen=True)
class Overfit:
    """The losses by name, `total` among them as they are weighed, in the first step and in the last one."""

    items: int
    steps: int
    start: dict[str, float]
    end: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether the total fell to the share that was asked for; a number that is none has not fallen."""
        return self.end["total"] <= SHARE * self.start["total"]

    @property
    def sentence(self) -> str:
        """What did not happen, and what to look at."""
        share = self.end["total"] / self.start["total"] if self.start["total"] else math.nan
        return (
            f"one batch could not be learned: after {self.steps} steps the total is {share:.3f} of its start, expected "
            f"at most {SHARE:g}. Look at training.learning_rate (too low: nothing moves; too high: it leaps), at "
            "training.loss_weights (what is left to learn from), at frozen parts of the network, and at the items "
            "('timbre-restore audit')."
        )


def overfit(settings: TrainSettings, *, say: Callable[[str], None] = lambda _: None) -> Overfit:
    """Train on the first batch alone, without discriminators or validation, until it is learned or `STEPS` are done.

    The rate is the configured one from the first step on. Nothing is written. Raises `CorpusError` for items that can't
    be read, and `ConfigError` for a run that begins from a voice that has learned: what it has left is no such share.
    """
    if settings.start_from is not None:
        learned = "training.start_from (--init) begins from learned ones; leave that out, or give --trial"
        raise ConfigError([f"--overfit: asks whether fresh weights can learn, and {learned}."])
    settings = replace(settings, batch_size=min(ITEMS, settings.batch_size), num_workers=0)
    accelerator = open_accelerator(settings)
    state = create_state(settings)
    data = RunData(settings, accelerator, with_hints=state.ema.takes_hints)
    place_state(state, accelerator)
    signals = next(iter(data.train))
    start: dict[str, float] = {}
    end: dict[str, float] = {}
    while state.step < STEPS:
        scalars = whole_step(state, accelerator, settings, data.batches, 0, signals, gan=False)
        state.step += 1
        end = {name: float(value) for name, value in scalars.items() if name != "gradient_norm"}
        start = start or end
        if state.step % SAID_EVERY_STEPS == 0:
            say(f"step {state.step}: " + ", ".join(f"{name} {value:.4f}" for name, value in end.items()))
        if not math.isfinite(end["total"]) or end["total"] <= SHARE * start["total"]:
            break
    return Overfit(len(signals[0]), state.step, start, end)
