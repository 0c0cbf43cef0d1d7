"""The state of a run at one moment: networks, optimisers and counters, without behaviour."""

from __future__ import annotations

import copy
import fnmatch
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from timbre_restore.errors import ConfigError
from timbre_restore.losses import Objective
from timbre_restore.models import Discriminators, make_generator
from timbre_restore.training.optimizers import make_optimizer
from timbre_restore.training.settings import TrainSettings
from timbre_restore.training.tally import Tally


@dataclass
class TrainState:
    """The networks as they are on the device (possibly wrapped for several processes) and the counters of the run."""

    generator: nn.Module
    discriminators: nn.Module
    ema: Any
    """The averaged generator, a `models.Generator`."""
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    objective: Objective
    epoch: int = 0
    """Completed epochs, including their validation."""
    batch: int = 0
    """Completed batches of the current epoch."""
    step: int = 0
    best: float = float("inf")
    rate_factor: float = 1.0
    """Factor of both learning rates; each rollback halves it."""
    rollbacks: int = 0
    tally: Tally = field(default_factory=Tally)


def create_state(settings: TrainSettings) -> TrainState:
    """New networks and optimisers on the CPU; the weights depend only on `settings.seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator: Any = make_generator(settings.generator)
        discriminators = Discriminators(settings.discriminators)
    if settings.discriminator_layout == "channels_last":
        discriminators.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = copy.deepcopy(generator).requires_grad_(False).eval()
    _freeze(generator, settings.freeze)
    shared: Any = {"betas": settings.betas, "weight_decay": settings.weight_decay}
    return TrainState(
        generator=generator,
        discriminators=discriminators,
        ema=ema,
        generator_optimizer=make_optimizer(settings.optimizer, generator, settings.learning_rate, **shared),
        discriminator_optimizer=make_optimizer("adamw", discriminators, settings.discriminator_learning_rate, **shared),
        objective=Objective(settings.loss_weights),
    )


def _freeze(generator: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the tensors whose names match. Raises `ConfigError` for a pattern that matches none, or if all match."""
    names = [name for name, _ in generator.named_parameters()]
    idle = [pattern for pattern in patterns if not fnmatch.filter(names, pattern)]
    parts = ", ".join(dict.fromkeys(f"{name.split('.')[0]}*" for name in names))
    problems = [
        f"training.freeze: '{pattern}' matches no tensor of the generator; its parts are {parts}." for pattern in idle
    ]
    frozen = {name for pattern in patterns for name in fnmatch.filter(names, pattern)}
    if len(frozen) == len(names):
        problems.append("training.freeze: matches every tensor of the generator, which leaves nothing to train.")
    if problems:
        raise ConfigError(problems)
    for name, tensor in generator.named_parameters():
        tensor.requires_grad_(name not in frozen)


def place_state(state: TrainState, accelerator: Any) -> None:
    """Move the state to the accelerator's device, wrapping the networks if there are several processes."""
    with warnings.catch_warnings():
        # accelerate 1.15 has no other name for this option, and torch 2.13 has no replacement yet.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        prepared = accelerator.prepare(
            state.generator, state.discriminators, state.generator_optimizer, state.discriminator_optimizer
        )
    state.generator, state.discriminators, state.generator_optimizer, state.discriminator_optimizer = prepared
    for module in (state.ema, state.objective):
        module.to(accelerator.device)
