"""The order of things: epochs of steps, a validation, a checkpoint. What happens in each is elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from timbre_restore.errors import TrainingInterrupted
from timbre_restore.training.checkpoint import restore_state, save_checkpoint
from timbre_restore.training.data import RunData
from timbre_restore.training.guard import Guard, OnAnomaly, RolledBack
from timbre_restore.training.interrupt import Ending, agreed, listening
from timbre_restore.training.journal import Journal
from timbre_restore.training.monitors import Local, is_out_of_memory, reason_of
from timbre_restore.training.progress import Progress
from timbre_restore.training.resume import checkpoint_to_resume, make_room, place_in_epoch
from timbre_restore.training.schedule import set_learning_rates
from timbre_restore.training.settings import TrainSettings
from timbre_restore.training.state import Tally, TrainState, create_state, place_state
from timbre_restore.training.steps import Scalars, whole_step
from timbre_restore.training.validate import listen, validate


@dataclass(frozen=True)
class TrainSummary:
    """How a run ended."""

    run: Path
    epochs: int
    steps: int
    metrics: dict[str, float]
    seconds: float
    warnings: list[str]


class _EndedEarly(Exception):
    """A signal came in the validation."""


def train(
    settings: TrainSettings,
    *,
    resume: str | None = None,
    on_anomaly: OnAnomaly = "stop",
    say: Callable[[str], None] = lambda _: None,
) -> TrainSummary:
    """Train on `<corpus>/train.txt`, validate on `<corpus>/val.txt`, leave a run in `output_dir`.

    `resume` is None (a new run; an older one in the same folder is kept under another name), `auto` (the folder's last
    checkpoint, a new run if there is none) or the path of a run or checkpoint. On a CPU, and with as many processes and
    workers, a run that was interrupted at whatever step and resumed gives the weights of an uninterrupted one, bit for
    bit. `say` gets what a person should read. Raises `TrainingInterrupted`, with a checkpoint behind it, after SIGTERM
    or Ctrl-C.

    Where a monitor finds what no run comes back from, `on_anomaly` decides: `stop` raises `TrainingStopped`, `rollback`
    goes on from the last healthy checkpoint at half the learning rates (and stops the fourth time), `warn` says it and
    goes on. Without memory it always stops. The last healthy checkpoint is there in each case.
    """
    if settings.threads:
        torch.set_num_threads(threads_of_process(settings.threads))
    accelerator = Accelerator(
        # Without the flag, processes without an accelerator would each train alone instead of together.
        cpu=not torch.accelerator.is_available(),
        mixed_precision=settings.mixed_precision,
        log_with="tensorboard",
        project_dir=str(settings.output_dir),
    )
    talk = say if accelerator.is_main_process else (lambda _: None)
    set_seed(settings.seed)
    checkpoint = checkpoint_to_resume(settings, resume, talk)
    state = create_state(settings)
    data = RunData(settings, accelerator, with_hints=state.ema.takes_hints)
    place_state(state, accelerator)
    warnings = _warnings(settings, data)
    if checkpoint is not None:
        batch, changed = place_in_epoch(checkpoint, data.order())
        restore_state(checkpoint, state, settings)
        state.batch = batch
        warnings += changed
    for warning in warnings:
        talk(f"warning: {warning}")
    # Only now, when nothing can fail any more, is an older run touched.
    if accelerator.is_main_process:
        make_room(settings.output_dir, checkpoint, talk)
    accelerator.wait_for_everyone()
    journal = Journal(settings.output_dir, accelerator, step=state.step)
    guard = Guard(settings, state, accelerator, journal, on_anomaly, talk)
    started = time.monotonic()
    metrics: dict[str, float] = {}
    progress = Progress(settings, len(data.batches), state, talk, visible=accelerator.is_main_process)
    with listening() as ending, progress:
        run = _Run(state, accelerator, settings, data, journal, guard, Local(state, accelerator), progress, ending)
        try:
            if checkpoint is None or settings.output_dir.resolve() not in checkpoint.folder.resolve().parents:
                run.save({}, best=False)  # a run that fails in its first minutes has something to go back to
            while state.epoch < settings.epochs:
                metrics = run.epoch_or_rollback(metrics)
        finally:
            journal.close()
    return TrainSummary(settings.output_dir, state.epoch, state.step, metrics, time.monotonic() - started, warnings)


def threads_of_process(threads: int) -> int:
    """This process's share of the machine's threads, at least one: processes with more than cores only wait."""
    return max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@dataclass
class _Run:
    """A run's parts, as an epoch needs them."""

    state: TrainState
    accelerator: Accelerator
    settings: TrainSettings
    data: RunData
    journal: Journal
    guard: Guard
    local: Local
    progress: Progress
    ending: Ending
    saved_at: float = field(default_factory=time.monotonic)

    def epoch_or_rollback(self, metrics: dict[str, float]) -> dict[str, float]:
        """The next epoch's metrics, or `metrics` where the run went back instead."""
        try:
            return self._epoch()
        except RolledBack:
            return metrics
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            reason = reason_of(exc)
        # Only now is the error gone, and with it what the step held.
        return self.guard.out_of_memory(reason)

    def _epoch(self) -> dict[str, float]:
        """What is left of an epoch, its validation and its checkpoint."""
        state, settings, batches = self.state, self.settings, self.data.batches
        gan = settings.gan_active(state.epoch)
        batches.set_epoch(state.epoch, state.batch)
        for batch, signals in enumerate(self.local.timed(self.data.train), start=state.batch):
            rate = set_learning_rates(state, settings, len(batches), batch)
            scalars = whole_step(state, self.accelerator, settings, batches, batch, signals, gan=gan)
            state.step += 1
            state.batch += 1
            scalars["clipped"] = (scalars["gradient_norm"] > settings.gradient_clip).float()
            _count(state.tally, scalars, batches.joined_items(batch))
            if state.step % settings.log_every_steps == 0 or state.batch == len(batches):
                self._log(rate, gan=gan)
            self._between_steps()
        metrics = dict(state.tally.logged)
        if self.data.val is not None:
            metrics |= self._validated()
        self.guard.epoch(metrics)
        state.epoch, state.batch, state.tally = state.epoch + 1, 0, Tally()
        self.journal.write("epoch", state.step, metrics | {"epoch": state.epoch})
        self.progress.epoch_done(state.epoch, metrics)
        name = settings.best_metric
        judged = metrics.get(name, metrics.get(name.removeprefix("val_"), metrics["total"]))
        best = judged < state.best
        state.best = min(judged, state.best)
        self.save(metrics, best=best)
        return metrics

    def _log(self, rate: float, *, gan: bool) -> None:
        state, tally = self.state, self.state.tally
        tally.open = _joined_sums(self.accelerator, tally)
        means = _means(tally)
        for name, mean in means.items():
            tally.logged[name] += mean * tally.open_items / self.data.batches.length
        self.journal.write("train", state.step, means | {"learning_rate": rate, "epoch": state.epoch + 1})
        self.progress.show(state, means, steps=tally.open_steps, gan=gan)
        state.tally = Tally(logged=tally.logged)
        self.guard.look(means, **self.local.look(tally.open_steps, gan=gan))

    def _validated(self) -> dict[str, float]:
        state = self.state
        assert self.data.val is not None
        try:
            metrics = validate(state, self.accelerator, self._unless_asked(self.data.val))
        except _EndedEarly:
            self._interrupt()
        sounds = listen(state, self.accelerator, self.data.listened)
        self.journal.sounds(state.step, sounds, state.ema.sample_rate_hz)
        return metrics

    def _unless_asked(self, batches: Iterable[list[torch.Tensor]]) -> Iterator[list[torch.Tensor]]:
        """The batches, until a signal comes. Several processes, which have to end together, go on to the end."""
        for batch in batches:
            if self.ending.asked and self.accelerator.num_processes == 1:
                raise _EndedEarly
            yield batch

    def _between_steps(self) -> None:
        """End where that was asked for; save what has been done for long enough."""
        longest_s = 60.0 * self.settings.checkpoint_minutes
        due = 0.0 < longest_s <= time.monotonic() - self.saved_at
        asked, due = agreed(self.accelerator, self.ending.asked, due)
        if asked:
            self._interrupt()
        if due:
            self.save({}, best=False)

    def _interrupt(self) -> NoReturn:
        saved = self.save({}, best=False)
        state = self.state
        what = "a checkpoint is written" if saved else "what has diverged is not saved"
        raise TrainingInterrupted(
            f"interrupted after step {state.step} (batch {state.batch} of {len(self.data.batches)} in epoch "
            f"{state.epoch + 1} of {self.settings.epochs}); {what}, go on with --resume auto.",
            self.ending.signal,
        )

    def save(self, metrics: dict[str, float], *, best: bool) -> bool:
        """Write a checkpoint, unless the state holds what is no number; whether it was written."""
        state = self.state
        state.tally.open = _joined_sums(self.accelerator, state.tally)
        saved = self.guard.may_save(_means(state.tally))
        if saved and self.accelerator.is_main_process:
            save_checkpoint(
                self.settings.output_dir, state, self.settings, metrics,
                best=best, healthy=self.guard.healthy, order=self.data.order(),
            )  # fmt: skip
        self.accelerator.wait_for_everyone()
        self.saved_at = time.monotonic()
        return saved


def _count(tally: Tally, scalars: Scalars, items: int) -> None:
    for name, value in scalars.items():
        # By items, or the one item of a short last batch would count as much as a whole batch.
        weighted = value.detach().float() * items
        tally.open[name] = tally.open[name] + weighted if name in tally.open else weighted
    tally.open_items += items
    tally.open_steps += 1


def _joined_sums(accelerator: Accelerator, tally: Tally) -> dict[str, torch.Tensor]:
    """Sums of all processes, the same numbers in each, so that all of them stop together."""
    if not tally.open:
        return {}
    names = sorted(tally.open)
    values = torch.stack([tally.open[name].float() for name in names])
    return dict(zip(names, accelerator.reduce(values, reduction="mean"), strict=True))


def _means(tally: Tally) -> dict[str, float]:
    return {name: float(value / tally.open_items) for name, value in tally.open.items()}


def _warnings(settings: TrainSettings, data: RunData) -> list[str]:
    """What is odd but allowed, in sentences."""
    found = []
    if settings.epochs < settings.warmup_epochs:
        found.append(
            f"training.epochs is {settings.epochs}, fewer than training.scheduler.warmup_epochs "
            f"{settings.warmup_epochs}: the warm-up is cut to the run."
        )
    if settings.gan_start_epoch >= settings.epochs:
        found.append(
            f"training.gan_start_epoch is {settings.gan_start_epoch} and the run has {settings.epochs} epochs: the GAN "
            "never starts."
        )
    if data.batches.length < data.batches.joined:
        found.append(
            f"the corpus has {data.batches.length} items and a step takes {data.batches.joined}: each epoch is one "
            "short batch."
        )
    if not data.val_items:
        found.append("the validation list is empty: the best checkpoint is chosen by the training loss.")
    return found
