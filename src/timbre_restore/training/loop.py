"""The training loop: epochs of steps, a validation, a checkpoint. The details of each are in other modules."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration, set_seed

from timbre_restore.errors import TimbreRestoreError, TrainingInterrupted
from timbre_restore.loading import EpochBatches, Loader
from timbre_restore.training.advice import unusual_settings
from timbre_restore.training.checkpoints.changes import changed_keys
from timbre_restore.training.checkpoints.checkout_state import code_state
from timbre_restore.training.checkpoints.checkpoint import Checkpoint, begin_from, restore_state, save_checkpoint
from timbre_restore.training.checkpoints.resume import changed_order, checkpoint_to_resume, make_room, place_in_epoch
from timbre_restore.training.companions import companions, require_alike
from timbre_restore.training.data import RunData
from timbre_restore.training.device import open_accelerator
from timbre_restore.training.interrupt import StopRequest, agreed, listening
from timbre_restore.training.length import Length, length_of
from timbre_restore.training.monitors import Local, is_out_of_memory, reason_of
from timbre_restore.training.monitors.guard import Guard, OnAnomaly, RolledBack
from timbre_restore.training.record.clock import Clock
from timbre_restore.training.record.journal import Journal
from timbre_restore.training.record.progress import Progress
from timbre_restore.training.record.run_record import begin_record, ending_kept
from timbre_restore.training.record.trackers import require_trackers, start_trackers
from timbre_restore.training.schedule import Plan, plan_of, set_learning_rates
from timbre_restore.training.settings import TrainSettings
from timbre_restore.training.state import TrainState, create_state, place_state
from timbre_restore.training.steps import train_step
from timbre_restore.training.tally import Tally, count, epoch_means, join, logged
from timbre_restore.training.tally import means as tally_means
from timbre_restore.training.validate import listen, validate


@dataclass(frozen=True)
class TrainSummary:
    """How a run ended."""

    run: Path
    epochs: float
    """Completed epochs, including the fraction of the epoch in which the run ended."""
    steps: int
    metrics: dict[str, float]
    seconds: float
    warnings: list[str]


class _EndedEarly(Exception):
    """A signal arrived during the validation."""


def train(
    settings: TrainSettings,
    *,
    resume: str | None = None,
    on_anomaly: OnAnomaly = "stop",
    say: Callable[[str], None] = lambda _: None,
) -> TrainSummary:
    """Train on `<corpus>/train.txt`, validate on `<corpus>/val.txt`, and write the run to `output_dir`.

    `resume` is None (a new run; an older one in the same folder is kept under another name), `auto` (the last
    checkpoint in the folder, or a new run if there is none) or the path of a run or checkpoint. On a CPU, and with the
    same number of processes and workers, a run that was interrupted at any step and resumed gives bit for bit the
    weights of an uninterrupted one. `say` receives the messages for the user. Raises `TrainingInterrupted`, after
    writing a checkpoint, on SIGTERM or Ctrl-C.

    If a monitor finds a problem from which a run does not recover, `on_anomaly` decides: `stop` raises
    `TrainingStopped`, `rollback` continues from the last healthy checkpoint at half the learning rates (and stops the
    fourth time), `warn` prints a warning and continues. Running out of memory always stops the run. In every case, the
    last healthy checkpoint is available.
    """
    require_trackers(settings.trackers)
    accelerator = open_accelerator(
        settings,
        log_with=list(settings.trackers) or None,
        project_config=ProjectConfiguration(str(settings.output_dir), str(settings.output_dir / "tensorboard")),
        # Buffers are windows and filterbanks, identical in all processes: nothing to send in each pass.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    talk = say if accelerator.is_main_process else (lambda _: None)
    with companions(accelerator):  # from here on each waits for the others
        return _train(settings, accelerator, resume, on_anomaly, talk)


def _train(
    settings: TrainSettings,
    accelerator: Accelerator,
    resume: str | None,
    on_anomaly: OnAnomaly,
    talk: Callable[[str], None],
) -> TrainSummary:
    """What `train` does, in each of the processes."""
    set_seed(settings.seed)
    checkpoint = checkpoint_to_resume(settings, resume, talk)
    state = create_state(settings)
    if checkpoint is None and settings.start_from is not None:
        begin_from(settings.start_from, state, settings, talk)
    data = RunData(settings, accelerator, with_hints=state.ema.takes_hints)
    require_alike(accelerator, {"step": checkpoint and checkpoint.content["step"]} | data.order(data.batches))
    place_state(state, accelerator)
    length = length_of(
        settings,
        checkpoint,
        epoch_steps=len(data.batches),
        validation_batches=len(data.val) if data.val is not None else 0,
        talk=talk,
    )
    plan = plan_of(settings, length.epochs)
    if not math.isinf(plan.long_start):
        data.stage(long=True)  # raises now if the list is too short, rather than late in the run

    def batches_of(checkpoint: Checkpoint) -> EpochBatches:
        return data.stage(long=int(checkpoint.content["epoch"]) >= plan.long_start)[0]

    def place(checkpoint: Checkpoint) -> int:
        return place_in_epoch(checkpoint, batches_of(checkpoint))

    warnings = unusual_settings(settings, plan, data, accelerator.device)
    if checkpoint is not None:
        changed = changed_order(checkpoint, data.order(batches_of(checkpoint)))
        restore_state(checkpoint, state, settings)
        state.batch = place(checkpoint)
        warnings += changed + changed_keys(checkpoint, settings.record)
    for warning in warnings:
        talk(f"warning: {warning}")
    # An older run is only touched now, when nothing can fail any more.
    if accelerator.is_main_process:
        make_room(settings.output_dir, checkpoint, state, talk)
        code_state()  # cached now: the files on disk may change during the run
    accelerator.wait_for_everyone()
    journal = Journal(settings.output_dir, accelerator, step=state.step)
    guard = Guard(settings, plan, state, accelerator, journal, on_anomaly, talk, place)
    number = ""
    keeping: AbstractContextManager[None] = nullcontext()
    if accelerator.is_main_process:
        number = begin_record(
            settings, plan, state, data.order(data.batches), len(data.batches), processes=accelerator.num_processes
        )
        keeping = ending_kept(settings.output_dir, state, talk)
    start_trackers(accelerator, settings.trackers, settings.output_dir, number=number, settings=settings.record)
    metrics: dict[str, float] = {}
    started, clock = time.monotonic(), Clock(journal.lines_before, journal.seconds)
    progress = Progress(plan, len(data.batches), state, clock, talk, visible=accelerator.is_main_process)
    local = Local(state, accelerator)
    # A signal that comes while the record is written must not end that.
    with listening() as ending, keeping, progress, companions(accelerator):
        run = _Run(state, accelerator, settings, length, plan, data, journal, guard, local, progress, ending, clock)
        try:
            if checkpoint is None or settings.output_dir.resolve() not in checkpoint.folder.resolve().parents:
                run.save({}, best=False)  # so that a run that fails in its first minutes can go back to it
            while run.goes_on:
                metrics = run.epoch_or_rollback(metrics)
        finally:
            journal.close()
    return TrainSummary(settings.output_dir, run.place, state.step, metrics, time.monotonic() - started, warnings)


@dataclass
class _Run:
    """The parts of a run that an epoch needs."""

    state: TrainState
    accelerator: Accelerator
    settings: TrainSettings
    length: Length
    plan: Plan
    data: RunData
    journal: Journal
    guard: Guard
    local: Local
    progress: Progress
    ending: StopRequest
    clock: Clock
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def goes_on(self) -> bool:
        """Whether steps are left, or the validation of completed steps."""
        state = self.state
        if state.epoch >= self.plan.length:
            return False
        steps = self.plan.last_batch(state.epoch, len(self._stage()[0]))
        return state.batch < steps or bool(state.tally.logged_items)

    @property
    def place(self) -> float:
        """Position in the run, in epochs from the start."""
        state = self.state
        return state.epoch + state.batch / len(self._stage()[0]) if state.batch else state.epoch

    def epoch_or_rollback(self, metrics: dict[str, float]) -> dict[str, float]:
        """The next epoch's metrics, or `metrics` if the run was rolled back instead."""
        try:
            return self._epoch()
        except RolledBack:
            return metrics
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            reason = reason_of(exc)
        # Only now is the exception released, and with it the memory that the step held.
        return self.guard.out_of_memory(reason)

    def _epoch(self) -> dict[str, float]:
        """The rest of an epoch, its validation and its checkpoint.

        If the plan ends within the epoch, the checkpoint is at that point: a run made longer continues with the rest.
        """
        state, settings = self.state, self.settings
        batches, loader = self._stage()
        last = self.plan.last_batch(state.epoch, len(batches))
        batches.set_epoch(state.epoch, state.batch)
        gan = self.plan.gan(state.epoch)  # no step is left if the run was interrupted in the validation
        for signals, batch in zip(self.local.timed(self._fed_by(loader)), range(state.batch, last), strict=False):
            place = state.epoch + batch / len(batches)
            gan, ramp = self.plan.gan(place), self.plan.ramp(place)
            rate = set_learning_rates(state, settings, self.plan, place, len(batches))
            scalars = train_step(state, self.accelerator, settings, batches, batch, signals, gan=gan, ramp=ramp)
            state.step += 1
            state.batch += 1
            self.clock.step_done()
            scalars["clipped"] = (scalars["gradient_norm"] > settings.gradient_clip).float()
            count(state.tally, scalars, batches.joined_items(batch))
            # The line of the first step shows the untrained network, the baseline for all later ones.
            if state.step % settings.log_every_steps == 0 or state.batch == last or state.step == 1:
                self._log(rate, gan=gan)
            self._between_steps()
        metrics = epoch_means(state.tally)
        if self.data.val is not None:
            with self.clock.beside():
                metrics |= self._validated()
        self.guard.epoch(metrics)
        state.tally = Tally()
        if last == len(batches):
            state.epoch, state.batch = state.epoch + 1, 0
        times = {"seconds": round(self.clock.seconds, 3)}
        self.journal.write("epoch", state.step, metrics | {"epoch": self.place} | times)
        self.clock.epoch_done()
        self.progress.epoch_done(self.place, metrics, gan=gan)
        name = settings.best_metric
        judged = next(metrics[key] for key in (name, name.removeprefix("val_"), "total") if key in metrics)
        best = judged < state.best
        state.best = min(judged, state.best)
        with self.clock.beside():
            self.save(metrics, best=best)
        return metrics

    def _log(self, rate: float, *, gan: bool) -> None:
        state, tally = self.state, self.state.tally
        join(tally, self.accelerator)
        means = tally_means(tally)
        times = self.clock.interval(gan=gan)
        steps = len(self._stage()[0])
        place = round(state.epoch + (state.batch - 1) / steps, 6)
        self.journal.write(
            "train", state.step, means | {"learning_rate": rate, "epoch": state.epoch + 1, "place": place} | times
        )
        self.progress.show(state.epoch + state.batch / steps, means, batches_per_s=times["batches_per_s"], gan=gan)
        state.tally = logged(tally)
        self.guard.look(place, means, **self.local.look(tally.steps, gan=gan))

    def _fed_by(self, loader: Loader) -> Iterator[list[torch.Tensor]]:
        """The loader's batches. If a signal also ended the reading processes, the run is interrupted as requested."""
        try:
            yield from loader
        except TimbreRestoreError:
            if self.ending.asked and self.accelerator.num_processes == 1:
                self._interrupt()
            raise

    def _stage(self) -> tuple[EpochBatches, Loader]:
        return self.data.stage(long=self.state.epoch >= self.plan.long_start)

    def _validated(self) -> dict[str, float]:
        state = self.state
        assert self.data.val is not None
        try:
            metrics = validate(state, self.accelerator, self._unless_asked(self.data.val))
        except _EndedEarly:
            self._interrupt()
        if agreed(self.accelerator, self.ending.asked)[0]:
            self._interrupt()  # spectrograms take seconds, and a cluster allows few before it kills the process
        sounds = listen(state, self.accelerator, self.data.listened)
        self.journal.sounds(state.step, sounds, state.ema.sample_rate_hz)
        return metrics

    def _unless_asked(self, batches: Iterable[list[torch.Tensor]]) -> Iterator[list[torch.Tensor]]:
        """The batches until any process receives a signal; all processes end at the same batch."""
        own = iter(batches)
        for _ in range(self.data.val_batches):
            if agreed(self.accelerator, self.ending.asked)[0]:
                raise _EndedEarly
            if (batch := next(own, None)) is not None:  # some processes may lack the last batch
                yield batch

    def _between_steps(self) -> None:
        """Interrupt the run if that was requested; save a checkpoint if one is due."""
        longest_s = 60.0 * self.settings.checkpoint_minutes
        due = 0.0 < longest_s <= time.monotonic() - self.saved_at
        asked, due = agreed(self.accelerator, self.ending.asked, due)
        if asked:
            self._interrupt()
        if due:
            with self.clock.beside():
                self.save({}, best=False)

    def _interrupt(self) -> NoReturn:
        saved = self.save({}, best=False)
        state = self.state
        what = "a checkpoint was written" if saved else "the diverged state was not saved"
        raise TrainingInterrupted(
            f"interrupted after step {state.step} (batch {state.batch} of {len(self._stage()[0])} in epoch "
            f"{state.epoch + 1} of {math.ceil(self.plan.length)}); {what}, continue with --resume auto.",
            self.ending.signal,
        )

    def save(self, metrics: dict[str, float], *, best: bool) -> bool:
        """Write a checkpoint, unless the state holds NaN or infinite values; return whether it was written."""
        state = self.state
        join(state.tally, self.accelerator)
        saved = self.guard.may_save(tally_means(state.tally))
        if saved and self.accelerator.is_main_process:
            order, planned = self.data.order(self._stage()[0]), self.length.planned
            save_checkpoint(
                self.settings.output_dir, state, self.settings, metrics,
                best=best, healthy=self.guard.healthy, order=order, planned=planned,
            )  # fmt: skip
        self.accelerator.wait_for_everyone()
        self.saved_at = time.monotonic()
        return saved
