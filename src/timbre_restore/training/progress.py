"""What a person sees while it trains: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import rich.progress as bars
from rich.console import Console

from timbre_restore.training.bands import phase_of

if TYPE_CHECKING:
    from timbre_restore.training.schedule import Plan
    from timbre_restore.training.settings import TrainSettings
    from timbre_restore.training.state import TrainState


class Progress:
    """Steps done, phase, losses, batches per second, time left."""

    def __init__(
        self,
        settings: TrainSettings,
        plan: Plan,
        epoch_steps: int,
        state: TrainState,
        say: Callable[[str], None],
        *,
        visible: bool,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._say = say
        self._epoch_steps = epoch_steps
        self._last = time.monotonic()
        self._rate = 0.0
        self._bar = bars.Progress(
            bars.TextColumn("epoch {task.fields[epoch]}/" + str(math.ceil(plan.length)) + " {task.fields[phase]}"),
            bars.BarColumn(),
            bars.TextColumn("{task.fields[losses]}"),
            bars.TextColumn("{task.fields[rate]:.2f} batches/s"),
            bars.TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not (visible and sys.stderr.isatty()),
        )
        self._task = self._bar.add_task(
            "train", total=round(plan.length * epoch_steps), completed=state.epoch * epoch_steps + state.batch,
            epoch=state.epoch + 1, phase="", losses="", rate=0.0,
        )  # fmt: skip

    def __enter__(self) -> Progress:
        self._bar.start()
        self._last = time.monotonic()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def show(self, state: TrainState, means: Mapping[str, float], *, steps: int, gan: bool) -> None:
        """After every logged interval of `steps` steps."""
        now = time.monotonic()
        self._rate = steps / max(1e-9, now - self._last)
        self._last = now
        self._bar.update(
            self._task, completed=state.epoch * self._epoch_steps + state.batch, epoch=state.epoch + 1,
            phase=phase_of(state.epoch, warmup_epochs=self._plan.warmup, gan=gan),
            losses=_losses(means), rate=self._rate,
        )  # fmt: skip

    def epoch_done(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """A line that stays."""
        self._say(f"epoch {epoch}/{math.ceil(self._plan.length)}: {_losses(metrics)}  {self._rate:.2f} batches/s")
        self._last = time.monotonic()


def _losses(means: Mapping[str, float]) -> str:
    shown = ("l1", "multi_stft", "d_real", "d_fake", "feature_matching", "val_l1", "val_multi_stft",
             "val_multi_stft_degraded")  # fmt: skip
    return " ".join(f"{name} {means[name]:.4f}" for name in shown if name in means)
