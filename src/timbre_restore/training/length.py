"""The length of a run in epochs, the unit of all its phases, whether it was given in epochs, steps or hours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accelerate.utils import broadcast_object_list

from timbre_restore.errors import TrainingStopped
from timbre_restore.training.ahead.timing import StepTimes, time_steps
from timbre_restore.training.checkpoints.checkpoint import Checkpoint
from timbre_restore.training.monitors import is_out_of_memory, out_of_memory, reason_of
from timbre_restore.training.settings import TrainSettings

TIMED_STEPS = 8
"""Steps timed of each kind; fewer if they take long."""


@dataclass(frozen=True)
class Length:
    """The number of epochs; `planned` is what a checkpoint stores about a length that was measured."""

    epochs: float
    planned: dict[str, float] | None = None


def length_of(
    settings: TrainSettings,
    checkpoint: Checkpoint | None,
    *,
    epoch_steps: int,
    validation_batches: int,
    talk: Callable[[str], None],
    measure: Callable[[TrainSettings, int], StepTimes] = time_steps,
) -> Length:
    """The length of the run.

    Hours are converted to steps once, from measured speed; a resumed run keeps the planned length.
    """
    if settings.steps is not None:
        return Length(settings.steps / epoch_steps)
    if settings.hours is None:
        return Length(float(settings.epochs))
    planned: dict[str, float] | None = checkpoint.content.get("planned") if checkpoint is not None else None
    if planned is not None:
        if planned["hours"] != settings.hours:
            talk(
                f"warning: training.hours is {settings.hours:g} but was {planned['hours']:g} when the run was planned: "
                f"its length stays {planned['epochs']:.3g} epochs."
            )
        return Length(planned["epochs"], planned)
    try:
        times = measure(settings, TIMED_STEPS)
    except (RuntimeError, MemoryError) as exc:
        if not is_out_of_memory(exc):
            raise
        raise TrainingStopped(out_of_memory(1, settings, reason_of(exc), gan=settings.reaches_gan).sentence) from exc
    epochs = epochs_in(settings, times, epoch_steps=epoch_steps, validation_batches=validation_batches)
    # Each process has measured its own steps; all must end at the same one.
    (epochs,) = broadcast_object_list([epochs])
    paces = f"{_mean(times.plain_s):.3g} s per step"
    if times.gan_s:
        paces += f" before the GAN, {_mean(times.gan_s):.3g} s with it"
    talk(
        f"training.hours {settings.hours:g} is planned as {round(epochs * epoch_steps)} steps ({epochs:.3g} epochs): "
        f"{paces}."
    )
    return Length(epochs, {"hours": settings.hours, "epochs": epochs})


def epochs_in(settings: TrainSettings, times: StepTimes, *, epoch_steps: int, validation_batches: int) -> float:
    """Epochs that fit into `settings.hours`, each including its validation; at least one step."""
    assert settings.hours is not None
    before = settings.gan_start_epoch / settings.epochs if settings.reaches_gan else 1.0
    step_s = before * _mean(times.plain_s) + (1.0 - before) * _mean(times.gan_s or times.plain_s)
    epoch_s = epoch_steps * step_s
    whole, rest = divmod(settings.hours * 3600.0, epoch_s + validation_batches * times.validation_s)
    # The last epoch is validated too, even if it is cut short.
    cut = max(0.0, rest - validation_batches * times.validation_s) / epoch_s
    steps = math.floor((whole + min(1.0, cut)) * epoch_steps)
    return max(1, steps) / epoch_steps


def _mean(seconds: Any) -> float:
    return float(sum(seconds) / len(seconds))
