"""What a run is at one moment: networks, optimisers, counters. No behaviour."""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from timbre_restore.losses import CompressedSpectrum, MultiResolutionSTFT
from timbre_restore.models import Discriminators, make_generator
from timbre_restore.training.settings import TrainSettings


@dataclass
class Tally:
    """Losses of an epoch so far: sums over the items since the last line of the log, and over those before it."""

    open: dict[str, torch.Tensor] = field(default_factory=dict)
    open_items: int = 0
    open_steps: int = 0
    logged: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """What of the epoch's mean of each is in the log: sums over the items before, divided by all of the epoch."""


@dataclass
class TrainState:
    """The networks as the devices hold them (perhaps wrapped for several processes) and the run's counters."""

    generator: nn.Module
    discriminators: nn.Module
    ema: Any
    """The averaged generator, a `models.Generator`."""
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    multi_stft: MultiResolutionSTFT
    compressed_spectrum: CompressedSpectrum
    epoch: int = 0
    """Epochs that are done, with their validation."""
    batch: int = 0
    """Batches that are done of the next one."""
    step: int = 0
    best: float = float("inf")
    rate_factor: float = 1.0
    """Of both learning rates; each rollback halves it."""
    rollbacks: int = 0
    tally: Tally = field(default_factory=Tally)


def create_state(settings: TrainSettings) -> TrainState:
    """Fresh networks and optimisers on the CPU; weights are a function of `settings.seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator: Any = make_generator(settings.generator)
        discriminators = Discriminators(settings.discriminators)
    ema = copy.deepcopy(generator).requires_grad_(False).eval()
    return TrainState(
        generator=generator,
        discriminators=discriminators,
        ema=ema,
        generator_optimizer=_adamw(generator, settings.learning_rate, settings),
        discriminator_optimizer=_adamw(discriminators, settings.discriminator_learning_rate, settings),
        multi_stft=MultiResolutionSTFT(),
        compressed_spectrum=CompressedSpectrum(),
    )


def _adamw(module: nn.Module, learning_rate: float, settings: TrainSettings) -> torch.optim.AdamW:
    trainable = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.AdamW(trainable, lr=learning_rate, betas=settings.betas, weight_decay=settings.weight_decay)


def place_state(state: TrainState, accelerator: Any) -> None:
    """Bring it to the accelerator's device, wrapped for several processes where there are."""
    prepared = accelerator.prepare(
        state.generator, state.discriminators, state.generator_optimizer, state.discriminator_optimizer
    )
    state.generator, state.discriminators, state.generator_optimizer, state.discriminator_optimizer = prepared
    for module in (state.ema, state.multi_stft, state.compressed_spectrum):
        module.to(accelerator.device)
