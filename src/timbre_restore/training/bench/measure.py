"""The training benchmark: rates of the project's step and of the reference recipe in one run, and its parts."""

from __future__ import annotations

import math
import platform
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from timbre_restore.training.bench.parts import Profile, profile_steps
from timbre_restore.training.bench.recipe import Plain, make_plain, plain_step
from timbre_restore.training.bench.rounds import Rate, Subject, measure_rates, seconds_of
from timbre_restore.training.data import RunData
from timbre_restore.training.device import open_accelerator
from timbre_restore.training.settings import TrainSettings
from timbre_restore.training.state import TrainState, create_state, place_state
from timbre_restore.training.steps import train_step

PLAIN, GAN, REFERENCE, LOADER = "before the GAN", "with the GAN", "reference, with the GAN", "loader"
REFERENCE_ROUND_S = 30.0
"""Time limit for a step of the reference; a smaller batch is measured if it would take longer."""
LONGEST_S = 420.0
"""No further round starts after this time."""
FEWEST_STEPS = 2
"""Minimum number of steps in a round and in the profile."""

Numbered = tuple[int, list[torch.Tensor]]


class OwnStep:
    """The project's step on batches of its corpus, as in a run."""

    def __init__(self, settings: TrainSettings, accelerator: Accelerator) -> None:
        self.settings = settings
        self.accelerator = accelerator
        self.state: TrainState = create_state(settings)
        self.data = RunData(settings, accelerator, with_hints=self.state.ema.takes_hints)
        place_state(self.state, accelerator)
        self._batches = self._endless()

    @property
    def turn(self) -> int:
        """Steps in which everything that is done only in every n-th step is done in proportion; at least two."""
        every = self.settings.discriminator_every
        return every * math.ceil(FEWEST_STEPS / every)

    def load(self) -> Numbered:
        """The next batch, with its index in the epoch."""
        return next(self._batches)

    def step(self, numbered: Numbered, *, gan: bool) -> None:
        """One training step."""
        batch, signals = numbered
        train_step(self.state, self.accelerator, self.settings, self.data.batches, batch, signals, gan=gan)
        self.state.step += 1

    def subject(self, name: str, *, gan: bool) -> Subject:
        """Loading and one training step, to be timed."""
        return Subject(name, self.settings.batch_size, lambda: self.step(self.load(), gan=gan), self.turn)

    def _endless(self) -> Iterator[Numbered]:
        epoch = 0
        while True:
            self.data.batches.set_epoch(epoch)
            yield from enumerate(self.data.train)
            epoch += 1


def loader_subject(own: OwnStep) -> Subject:
    """Epochs of the loader alone, with its own workers: those of the steps have read ahead when a round starts."""
    data = RunData(own.settings, own.accelerator, with_hints=own.state.ema.takes_hints)

    def epoch() -> None:
        for signals in data.train:
            signals[0][0, 0, 0].item()

    return Subject(LOADER, data.batches.length, epoch)


def reference_subject(own: OwnStep, plain: Plain) -> Subject:
    """The reference recipe on items of the same loader: as many of a batch as it can process in half a minute."""
    accelerator, device = own.accelerator, own.accelerator.device

    def step(items: int) -> None:
        degraded, clean = (signal[:items] for signal in own.load()[1][:2])
        plain_step(plain, degraded, clean, accelerator.autocast)

    step(1)
    items = fitting_items(seconds_of(lambda: step(1), 1, device), own.settings.batch_size)
    while True:
        try:
            step(items)
            break
        except torch.OutOfMemoryError:
            if items == 1:
                raise
            items //= 2
    return Subject(REFERENCE, items, lambda: step(items))


def fitting_items(seconds: float, most: int) -> int:
    """Batch size, halved from `most` until a step takes at most half a minute at `seconds` per item."""
    while most > 1 and most * seconds > REFERENCE_ROUND_S:
        most //= 2
    return most


def bench_training(
    settings: TrainSettings,
    *,
    rounds: int,
    plain: Callable[[torch.device], Plain] = make_plain,
    progress: Callable[[int, int, object], None] = lambda done, total, name: None,
) -> dict[str, Any]:
    """The report of `bench train`, on the corpus of the settings, which must hold full batches."""
    accelerator = open_accelerator(settings)
    own = OwnStep(settings, accelerator)
    progress(0, rounds, REFERENCE)
    subjects = [
        own.subject(PLAIN, gan=False),
        own.subject(GAN, gan=True),
        reference_subject(own, plain(accelerator.device)),
        loader_subject(own),
    ]
    rates = measure_rates(subjects, rounds, accelerator.device, longest_s=LONGEST_S, progress=progress)
    progress(rounds, rounds, "profile")
    parts = profile_steps(own.state, accelerator, own.load, lambda batch: own.step(batch, gan=True), count=own.turn)
    return report(settings, accelerator.device, rates, parts)


def report(settings: TrainSettings, device: torch.device, rates: dict[str, Rate], parts: Profile) -> dict[str, Any]:
    """The JSON report. Rates are in batches of the configured size, derived from items, whatever size was measured."""
    size = settings.batch_size
    plain, gan, reference = (rates[name].median / size for name in (PLAIN, GAN, REFERENCE))
    return {
        "batches_per_s": round(plain, 5),
        "batches_per_s_gan": round(gan, 5),
        "reference_batches_per_s_gan": round(reference, 5),
        "ratio_gan": round(gan / reference, 3),
        "loader_items_per_s": round(rates[LOADER].median, 1),
        "batch_size": size,
        "item_samples": settings.segment,
        "reference_batch_size_measured": rates[REFERENCE].items,
        "rounds": len(rates[GAN].items_per_s),
        "measured": {name: rate.record() for name, rate in rates.items()},
        "profile": parts.record() | {"step_ms": round(1000.0 / gan, 3)},
        **describe_machine(settings, device),
    }


def describe_machine(settings: TrainSettings, device: torch.device) -> dict[str, Any]:
    """The properties of machine and configuration that a rate depends on besides the step."""
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        "threads": torch.get_num_threads(),
        "loader_workers": settings.num_workers,
        "mixed_precision": settings.mixed_precision,
        "torch": torch.__version__,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


def processor_name() -> str:
    """The name of the CPU if the system provides it, otherwise its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
