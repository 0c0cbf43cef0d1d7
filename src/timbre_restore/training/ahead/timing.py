"""A few steps of a run, measured on its own corpus: what a prediction of its hours is made from. Nothing is written."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from timbre_restore.training.checkpoints.checkpoint import KEPT
from timbre_restore.training.data import RunData
from timbre_restore.training.device import open_accelerator
from timbre_restore.training.interrupt import agreed
from timbre_restore.training.settings import TrainSettings
from timbre_restore.training.state import TrainState, create_state, place_state
from timbre_restore.training.steps import whole_step
from timbre_restore.training.validate import validate

WARM_STEPS = 1
"""Of each kind, not counted: workers start, kernels are chosen."""
FEWEST_STEPS = 2
LONGEST_S = 60.0
"""After so long no further step of a kind is begun, once there are `FEWEST_STEPS`."""
VALIDATED_BATCHES = 2


@dataclass(frozen=True)
class StepTimes:
    """Seconds of each step, loading included, before the GAN and with it, and what else a run will need."""

    plain_s: tuple[float, ...]
    gan_s: tuple[float, ...]
    """None where the run has no GAN."""
    plain_wait_s: tuple[float, ...]
    """Of each of them, how long it waited for its batch."""
    gan_wait_s: tuple[float, ...]
    validation_s: float
    """Of a batch of validation; 0 where there is none."""
    device: str
    memory_bytes: int
    """Highest resident memory of this process."""
    device_memory_bytes: int
    """Highest memory of the GPU that torch allocated; 0 on a CPU."""
    checkpoints_bytes: int
    """Of all checkpoints that lie on the disk at one time, at most."""
    not_finite: tuple[str, ...]
    """Losses that were no number in a step."""


def time_steps(settings: TrainSettings, steps: int) -> StepTimes:
    """`steps` steps without discriminators and, if the run will have them, `steps` with them, from fresh weights.

    Fewer where they take longer than a minute. Each step is waited for, so an accelerator that would run ahead of the
    loader is shown a little too slow. Raises `CorpusError` for items that can't be read.
    """
    accelerator = open_accelerator(settings)
    state = create_state(settings)
    data = RunData(settings, accelerator, with_hints=state.ema.takes_hints)
    place_state(state, accelerator)
    batches = _endless(data)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    waits: dict[bool, list[float]] = {False: [], True: []}
    not_finite: set[str] = set()
    for gan in (False, True) if settings.plays else (False,):
        while len(seconds[gan]) < WARM_STEPS + steps:
            over = len(seconds[gan]) >= WARM_STEPS + FEWEST_STEPS and sum(seconds[gan]) > LONGEST_S
            if agreed(accelerator, over)[0]:  # a step of several processes needs them all
                break
            started = time.perf_counter()
            batch, signals = next(batches)
            waits[gan].append(time.perf_counter() - started)
            scalars = whole_step(state, accelerator, settings, data.batches, batch, signals, gan=gan)
            float(scalars["total"])  # waits for the device
            seconds[gan].append(time.perf_counter() - started)
            not_finite |= {name for name, value in scalars.items() if not math.isfinite(float(value))}
    return StepTimes(
        plain_s=tuple(seconds[False][WARM_STEPS:]),
        gan_s=tuple(seconds[True][WARM_STEPS:]),
        plain_wait_s=tuple(waits[False][WARM_STEPS:]),
        gan_wait_s=tuple(waits[True][WARM_STEPS:]),
        validation_s=_validation_s(state, accelerator, data),
        device=str(accelerator.device),
        memory_bytes=_memory_bytes(),
        device_memory_bytes=torch.cuda.max_memory_allocated() if accelerator.device.type == "cuda" else 0,
        checkpoints_bytes=(KEPT + 2) * _checkpoint_bytes(state),
        not_finite=tuple(sorted(not_finite)),
    )


def _endless(data: Any) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Batches with their number in the epoch, epoch after epoch."""
    epoch = 0
    while True:
        data.batches.set_epoch(epoch)
        yield from enumerate(data.train)
        epoch += 1


def _validation_s(state: Any, accelerator: Any, data: Any) -> float:
    """Seconds of one batch of validation; 0.0 where there is none."""
    if data.val is None:
        return 0.0
    batches = list(islice(data.val, VALIDATED_BATCHES))
    started = time.perf_counter()
    validate(state, accelerator, batches)
    return (time.perf_counter() - started) / max(1, len(batches))  # a process may have none


def _checkpoint_bytes(state: TrainState) -> int:
    """Of one checkpoint of a state whose networks have all been stepped; what is not weights is next to nothing."""
    optimizers = (state.generator_optimizer, state.discriminator_optimizer)
    kept = [value for each in optimizers for moments in each.state.values() for value in moments.values()]
    kept += [value for net in (state.generator, state.ema, state.discriminators) for value in net.state_dict().values()]
    return sum(value.numel() * value.element_size() for value in kept if isinstance(value, torch.Tensor))


def _memory_bytes() -> int:
    """Highest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
