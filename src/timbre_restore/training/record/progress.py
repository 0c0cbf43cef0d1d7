"""Progress display during training: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import rich.progress as bars
from rich.console import Console
from rich.table import Column

from timbre_restore.training.monitors.bands import outside, phase_of
from timbre_restore.training.record.clock import epochs_text

if TYPE_CHECKING:
    from timbre_restore.training.record.clock import Clock, Left
    from timbre_restore.training.schedule import Plan
    from timbre_restore.training.state import TrainState

ON_BAR = ("l1", "multi_stft", "d_real", "d_fake")
IN_LINE = (*ON_BAR, "feature_matching", "val_l1", "val_multi_stft", "val_multi_stft_degraded")


class Progress:
    """Completed steps, phase, losses (`↑` and `↓` mark values outside their bands), batches/s and time left.

    A step with the GAN takes several times as long as one without it: the time left is computed from both, and says so
    if no GAN step has been timed yet.
    """

    def __init__(
        self,
        plan: Plan,
        epoch_steps: int,
        state: TrainState,
        clock: Clock,
        say: Callable[[str], None],
        *,
        visible: bool,
    ) -> None:
        self._plan = plan
        self._say = say
        self._clock = clock
        self._epoch_steps = epoch_steps
        self._rate = 0.0
        self._bar = bars.Progress(
            bars.TextColumn("epoch {task.fields[epoch]}/" + str(math.ceil(plan.length)) + " {task.fields[phase]}"),
            bars.BarColumn(bar_width=20),
            bars.TextColumn("{task.fields[losses]}", table_column=Column(ratio=1, no_wrap=True)),
            bars.TextColumn("{task.fields[rate]:.2f} batches/s"),
            bars.TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            disable=not (visible and sys.stderr.isatty()),
        )
        self._task = self._bar.add_task(
            "train", total=round(plan.length * epoch_steps), completed=state.epoch * epoch_steps + state.batch,
            epoch=state.epoch + 1, phase="", losses="", rate=0.0, left="",
        )  # fmt: skip

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def show(self, place: float, means: Mapping[str, float], *, batches_per_s: float, gan: bool) -> None:
        """Update the bar after a log interval; `place` is the position in the run in epochs."""
        self._rate = batches_per_s
        phase = self._phase(place, gan)
        losses = _losses(means, ON_BAR, phase, mark="[yellow]{}[/]")
        self._bar.update(
            self._task, completed=round(place * self._epoch_steps), epoch=math.floor(place) + 1, phase=phase,
            losses=losses, rate=batches_per_s, left=self._left(place).brief,
        )  # fmt: skip

    def epoch_done(self, epoch: float, metrics: Mapping[str, float], *, gan: bool) -> None:
        """Print a permanent line for an epoch; `epoch` has a fraction if the run ended within an epoch."""
        phase = self._phase(math.ceil(epoch) - 1, gan)
        left = f", {self._left(epoch).words}" if epoch < self._plan.length else ""
        self._say(
            f"epoch {epochs_text(epoch)}/{epochs_text(self._plan.length)}: {phase}: "
            f"{_losses(metrics, IN_LINE, phase)}  "
            f"{self._rate:.2f} batches/s{left}"
        )

    def _phase(self, place: float, gan: bool) -> str:
        return phase_of(place, warmup_epochs=self._plan.warmup, gan=gan)

    def _left(self, place: float) -> Left:
        epochs = math.ceil(self._plan.length) - math.floor(place)
        return self._clock.left(*self._plan.steps_left(place, self._epoch_steps), epochs)


def _losses(means: Mapping[str, float], names: tuple[str, ...], phase: str, mark: str = "{}") -> str:
    parts = []
    for name in names:
        if name in means:
            side = outside(phase, name, means[name])
            text = f"{name} {means[name]:.4f}{side}"
            parts.append(mark.format(text) if side else text)
    return " ".join(parts)
