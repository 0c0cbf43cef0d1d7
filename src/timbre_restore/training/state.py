"""What a run is at one moment: networks, optimisers, counters. No behaviour."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from timbre_restore.losses import CompressedSpectrum, MultiResolutionSTFT
from timbre_restore.models import Discriminators, make_generator
from timbre_restore.training.settings import TrainSettings


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
    step: int = 0
    best: float = float("inf")


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
