"""The order of things: epochs of steps, a validation, a checkpoint. What happens in each is elsewhere."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from timbre_restore import losses
from timbre_restore.errors import CheckpointError
from timbre_restore.loading import (
    BlackBox,
    EpochBatches,
    FixedBatches,
    Loader,
    RandomGain,
    TimbreRestoreDataset,
    read_list,
)
from timbre_restore.training.checkpoint import (
    Checkpoint,
    find_checkpoint,
    forget_later,
    restore_state,
    save_checkpoint,
)
from timbre_restore.training.journal import Journal
from timbre_restore.training.monitor import Monitor
from timbre_restore.training.progress import Progress
from timbre_restore.training.schedule import learning_rate_factor
from timbre_restore.training.settings import TrainSettings
from timbre_restore.training.state import TrainState, create_state
from timbre_restore.training.steps import Scalars, discriminator_step, generator_step, update_ema
from timbre_restore.training.validate import validate

LISTENED_ITEMS = 2


@dataclass(frozen=True)
class TrainSummary:
    """How a run ended."""

    run: Path
    epochs: int
    steps: int
    metrics: dict[str, float]
    seconds: float
    warnings: list[str]


def train(
    settings: TrainSettings, *, resume: str | None = None, say: Callable[[str], None] = lambda _: None
) -> TrainSummary:
    """Train on `<corpus>/train.txt`, validate on `<corpus>/val.txt`, leave a run in `output_dir`.

    `resume` is None (a new run; an older one in the same folder is kept under another name), `auto` (the folder's last
    checkpoint, a new run if there is none) or the path of a run or checkpoint. `say` gets what a person should read.
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
    checkpoint = _checkpoint_to_resume(settings, resume)
    state = create_state(settings)
    data = _Data(settings, accelerator, with_hints=state.ema.takes_hints)
    _prepare(state, accelerator)
    warnings = _warnings(settings, data)
    if checkpoint is not None:
        restore_state(checkpoint, state, settings)
        warnings += _differences(checkpoint, data.order())
    for warning in warnings:
        talk(f"warning: {warning}")
    # Only now, when nothing can fail any more, is an older run touched.
    if accelerator.is_main_process:
        _make_room(settings.output_dir, checkpoint, talk)
    accelerator.wait_for_everyone()
    journal = Journal(settings.output_dir, accelerator, step=state.step)
    monitor = Monitor(settings.log_every_steps)
    for entry in journal.before:
        monitor.remember(entry)
    started = time.monotonic()
    metrics: dict[str, float] = {}
    with Progress(settings, len(data.batches), state.epoch, talk, visible=accelerator.is_main_process) as progress:
        while state.epoch < settings.epochs:
            metrics = _epoch(state, accelerator, settings, data, journal, monitor, progress)
    journal.close()
    return TrainSummary(settings.output_dir, state.epoch, state.step, metrics, time.monotonic() - started, warnings)


def threads_of_process(threads: int) -> int:
    """This process's share of the machine's threads, at least one: processes with more than cores only wait."""
    return max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class _Data:
    """The two splits, as this process sees them."""

    def __init__(self, settings: TrainSettings, accelerator: Accelerator, *, with_hints: bool) -> None:
        rank, world = accelerator.process_index, accelerator.num_processes
        stored = partial(TimbreRestoreDataset, with_noisy=True, with_hints=with_hints, segment=settings.segment)
        train_set = stored(settings.corpus / "train.txt")
        self.batches = EpochBatches(len(train_set), settings.batch_size, seed=settings.seed, rank=rank, world=world)
        self.train = Loader(
            train_set,
            self.batches,
            num_workers=settings.num_workers,
            gain=RandomGain(settings.random_gain_db, settings.seed) if settings.random_gain_db else None,
            black_box=BlackBox(settings.black_box_share, settings.seed) if settings.black_box_share else None,
            device=accelerator.device,
        )
        self.val: Loader | None = None
        self.val_items = len(read_list(settings.corpus / "val.txt"))
        if self.val_items:
            val_set = stored(settings.corpus / "val.txt")
            most = settings.validation_batches * settings.batch_size or len(val_set)
            # Spread over the list, which is ordered by recording: the first items would be one speaker's.
            chosen = [i * len(val_set) // min(most, len(val_set)) for i in range(min(most, len(val_set)))]
            own = FixedBatches(chosen[rank::world], settings.batch_size)
            self.val = Loader(val_set, own, device=accelerator.device)
            self.listened = [val_set[i] for i in chosen[:: max(1, len(chosen) // LISTENED_ITEMS)][:LISTENED_ITEMS]]

    def order(self) -> dict[str, int]:
        """What the order of the items follows from."""
        batches = self.batches
        return {"items": batches.length, "joined_batch": batches.joined, "seed": batches.seed}


def _epoch(
    state: TrainState,
    accelerator: Accelerator,
    settings: TrainSettings,
    data: _Data,
    journal: Journal,
    monitor: Monitor,
    progress: Progress,
) -> dict[str, float]:
    """One epoch, its validation and its checkpoint."""
    gan = settings.gan_active(state.epoch)
    data.batches.set_epoch(state.epoch)
    sums: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros((), device=accelerator.device))
    whole: dict[str, float] = defaultdict(float)
    steps = items = 0
    for batch, signals in enumerate(data.train):
        rate = _set_learning_rates(state, settings, len(data.batches), batch)
        scalars = _step(state, accelerator, settings, data.batches, batch, signals, gan=gan)
        state.step += 1
        steps += 1
        items += data.batches.joined_items(batch)
        for name, value in scalars.items():
            # By items, or the one item of a short last batch would count as much as a whole batch.
            sums[name] = sums[name] + value * data.batches.joined_items(batch)
        if state.step % settings.log_every_steps == 0 or batch + 1 == len(data.batches):
            means = _joined_means(accelerator, sums, items)
            for name, mean in means.items():
                whole[name] += mean * items / data.batches.length
            journal.write("train", state.step, means | {"learning_rate": rate, "epoch": state.epoch + 1})
            monitor.observe(state.step, means)
            progress.show(state, means, steps=steps, gan=gan)
            sums.clear()
            steps = items = 0
    state.epoch += 1
    metrics = dict(whole)
    if data.val is not None:
        metrics |= validate(state, accelerator, data.val)
        monitor.observe(state.step, metrics)
        journal.sounds(state.step, _listen(state, accelerator, data.listened), state.ema.sample_rate_hz)
    journal.write("epoch", state.step, metrics | {"epoch": state.epoch})
    progress.epoch_done(state.epoch, metrics)
    judged = metrics.get(settings.best_metric, metrics.get(settings.best_metric.removeprefix("val_"), metrics["total"]))
    best = judged < state.best
    state.best = min(judged, state.best)
    if accelerator.is_main_process:
        save_checkpoint(settings.output_dir, state, settings, metrics, best=best, order=data.order())
    accelerator.wait_for_everyone()
    return metrics


def _step(
    state: TrainState,
    accelerator: Accelerator,
    settings: TrainSettings,
    batches: EpochBatches,
    batch: int,
    signals: Sequence[torch.Tensor],
    *,
    gan: bool,
) -> Scalars:
    """One batch, degraded, clean, noisy and perhaps hints: the generator runs once and serves both updates."""
    degraded, clean, *given = (x.to(accelerator.device, non_blocking=True) for x in signals)
    items = batches.joined_items(batch) / batches.world
    if batches.own_items(batch) == 0:
        items = float("inf")  # a stand-in item weighs nothing
    with accelerator.autocast():
        restored = state.generator(degraded, *given)
    gain = losses.item_gain(clean)
    restored, clean = restored.float() * gain, clean * gain
    kind, clip = settings.adversarial_loss, settings.gradient_clip
    scalars: Scalars = {}
    if gan:
        scalars = discriminator_step(state, accelerator, restored, clean, items=items, kind=kind, clip=clip)
    scalars |= generator_step(
        state, accelerator, restored, clean,
        items=items, weights=settings.loss_weights, gan=gan, kind=kind, clip=clip,
    )  # fmt: skip
    update_ema(state, accelerator.unwrap_model(state.generator), settings.ema_decay)
    return scalars


def _prepare(state: TrainState, accelerator: Accelerator) -> None:
    prepared = accelerator.prepare(
        state.generator, state.discriminators, state.generator_optimizer, state.discriminator_optimizer
    )
    state.generator, state.discriminators, state.generator_optimizer, state.discriminator_optimizer = prepared
    state.ema.to(accelerator.device)
    state.multi_stft.to(accelerator.device)
    state.compressed_spectrum.to(accelerator.device)


def _set_learning_rates(state: TrainState, settings: TrainSettings, epoch_steps: int, batch: int) -> float:
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
        (state.generator_optimizer, settings.learning_rate * factor),
        (state.discriminator_optimizer, settings.discriminator_learning_rate * judges),
    ):
        for group in optimizer.param_groups:
            group["lr"] = rate
    return settings.learning_rate * factor


def _joined_means(accelerator: Accelerator, sums: dict[str, torch.Tensor], items: int) -> dict[str, float]:
    """Means over items and processes, the same numbers in each process, so that all of them stop together."""
    names = sorted(sums)
    values = torch.stack([sums[name].float() for name in names]) / items
    return dict(zip(names, accelerator.reduce(values, reduction="mean").tolist(), strict=True))


def _listen(
    state: TrainState, accelerator: Accelerator, items: list[tuple[torch.Tensor, ...]]
) -> dict[str, torch.Tensor]:
    """Named signals of the fixed validation items."""
    sounds: dict[str, torch.Tensor] = {}
    for index, (degraded, clean, noisy, *hints) in enumerate(items):
        with torch.no_grad():
            restored = state.ema(*(x[None].to(accelerator.device) for x in (degraded, noisy, *hints)))[0]
        waves = {"noisy": noisy[..., : degraded.shape[-1]], "degraded": degraded, "restored": restored, "clean": clean}
        sounds |= {f"item_{index}/{name}": wave[0] for name, wave in waves.items()}
    return sounds


def _warnings(settings: TrainSettings, data: _Data) -> list[str]:
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


def _checkpoint_to_resume(settings: TrainSettings, resume: str | None) -> Checkpoint | None:
    if resume is None:
        return None
    if resume != "auto":
        return find_checkpoint(Path(resume))
    if not (settings.output_dir / "checkpoints" / "last.json").is_file():
        return None
    return find_checkpoint(settings.output_dir)


def _differences(checkpoint: Checkpoint, order: dict[str, int]) -> list[str]:
    """What makes the continued run another than the interrupted one would have been."""
    before = checkpoint.content.get("order") or order
    return [
        f"{name} is {value} and was {before.get(name)} in {checkpoint.folder}: the run goes on in another order."
        for name, value in order.items()
        if before.get(name) != value
    ]


def _make_room(run: Path, checkpoint: Checkpoint | None, talk: Callable[[str], None]) -> None:
    """A run that does not continue the one in its folder never writes over it: that is moved aside."""
    if checkpoint is not None:
        talk(f"continuing from {checkpoint.folder} (epoch {checkpoint.content['epoch']})")
        if run.resolve() in checkpoint.folder.resolve().parents:
            forget_later(run, int(checkpoint.content["epoch"]))
            return
    if not (run / "log.jsonl").exists():
        return
    number = 1
    while (aside := run.with_name(f"{run.name}.{number}")).exists():
        number += 1
    try:
        os.replace(run, aside)
    except OSError as exc:
        raise CheckpointError(f"{run}: the older run there can't be moved aside ({exc}); move it by hand.") from exc
    talk(f"the older run in {run} is kept as {aside}")
