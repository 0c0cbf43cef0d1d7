"""Times a few steps of a run on its own corpus, as the basis for predicting its duration. Nothing is written."""

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
from timbre_restore.training.steps import train_step
from timbre_restore.training.validate import validate

WARM_STEPS = 1
"""Uncounted steps of each kind, in which workers start and kernels are chosen."""
FEWEST_STEPS = 2
LONGEST_S = 60.0
"""No further step of a kind starts after this time, once there are `FEWEST_STEPS`."""
VALIDATED_BATCHES = 2


@dataclass(frozen=True)
class StepTimes:
    """Seconds per step, including loading, before the GAN and with it, and the other resources that a run needs."""

    plain_s: tuple[float, ...]
    gan_s: tuple[float, ...]
    """Empty if the run has no GAN."""
    plain_wait_s: tuple[float, ...]
    """Seconds that each of these steps waited for its batch."""
    gan_wait_s: tuple[float, ...]
    validation_s: float
    """Seconds per validation batch; 0 if there is no validation."""
    device: str
    memory_bytes: int
    """Peak resident memory of this process."""
    device_memory_bytes: int
    """Peak GPU memory allocated by torch; 0 on a CPU."""
    checkpoints_bytes: int
    """Maximum total size of the checkpoints that are on disk at the same time."""
    not_finite: tuple[str, ...]
    """Losses that were NaN or infinite in a step."""


def time_steps(settings: TrainSettings, steps: int) -> StepTimes:
    """Time `steps` steps without discriminators and, if the run uses them, `steps` with them, from fresh weights.

    Fewer steps are timed if they take longer than a minute. Each step is synchronised, so an accelerator that would run
    ahead of the loader appears slightly too slow. Raises `CorpusError` for items that can't be read.
    """
    accelerator = open_accelerator(settings)
    state = create_state(settings)
    data = RunData(settings, accelerator, with_hints=state.ema.takes_hints)
    place_state(state, accelerator)
    batches = _endless(data)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    waits: dict[bool, list[float]] = {False: [], True: []}
    not_finite: set[str] = set()
    for gan in (False, True) if settings.reaches_gan else (False,):
        # Whole rounds of a step in which the discriminators learn and those in which they don't; of long rounds a part.
        cycle = min(settings.discriminator_every, steps) if gan else 1
        wanted, fewest = -(-steps // cycle) * cycle, max(cycle, FEWEST_STEPS)
        while (counted := len(seconds[gan]) - WARM_STEPS) < wanted:
            state.step = max(0, counted)  # a cycle begins with the step in which they learn
            over = counted >= fewest and counted % cycle == 0 and sum(seconds[gan]) > LONGEST_S
            if agreed(accelerator, over)[0]:  # a step needs all processes
                break
            started = time.perf_counter()
            batch, signals = next(batches)
            waits[gan].append(time.perf_counter() - started)
            scalars = train_step(state, accelerator, settings, data.batches, batch, signals, gan=gan)
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
    """Batches with their index in the epoch, epoch after epoch."""
    epoch = 0
    while True:
        data.batches.set_epoch(epoch)
        yield from enumerate(data.train)
        epoch += 1


def _validation_s(state: Any, accelerator: Any, data: Any) -> float:
    """Seconds per validation batch; 0.0 if there is no validation."""
    if data.val is None:
        return 0.0
    batches = list(islice(data.val, VALIDATED_BATCHES))
    started = time.perf_counter()
    validate(state, accelerator, batches)
    return (time.perf_counter() - started) / max(1, len(batches))  # a process may have none


def _checkpoint_bytes(state: TrainState) -> int:
    """Size of a checkpoint, for a state whose optimisers have all been stepped; all but tensors is negligible."""
    optimizers = (state.generator_optimizer, state.discriminator_optimizer)
    kept = [value for each in optimizers for moments in each.state.values() for value in moments.values()]
    kept += [value for net in (state.generator, state.ema, state.discriminators) for value in net.state_dict().values()]
    return sum(value.numel() * value.element_size() for value in kept if isinstance(value, torch.Tensor))


def _memory_bytes() -> int:
    """Peak resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
