"""The reference recipe in a plain training loop, with which `bench train` compares the project's own step.

Generator `reference` at size base (64-128-256-512 channels, stride 2 from 48 kHz down), discriminators MPD and MSD with
the layers of HiFi-GAN (Kong et al. 2020, §2.3 and appendix B; strides, paddings and groups as in the code that the
authors published). Losses: L1, multi-resolution STFT (Yamamoto et al. 2020, eq. 4-6), least-squares adversarial and
feature matching (HiFi-GAN, eq. 3-6). Apart from the generator, nothing here is shared with what the project trains, so
that changes to the project's own step do not make the reference faster or slower.

Each network runs as often as in a plain loop, and nothing is frozen in the generator's update, as in the loops of
HiFi-GAN and descript-audio-codec: the gradients of the discriminators in that update are computed and discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from timbre_restore.models import GeneratorSettings, make_generator

PERIODS = (2, 3, 5, 7, 11)
PERIOD_WIDTHS = (32, 128, 512, 1024)
SCALE_LAYERS = ((128, 15, 1, 1), (128, 41, 2, 4), (256, 41, 2, 16), (512, 41, 4, 16), (1024, 41, 4, 16),
                (1024, 41, 1, 16), (1024, 5, 1, 1))  # fmt: skip
"""Channels, kernel, stride and groups of each layer."""
SCALES = 3
WINDOWS = (2048, 1024, 512)
LEARNING_RATE, BETAS = 2e-4, (0.8, 0.99)
WEIGHTS = {"l1": 3.0, "multi_stft": 3.0, "adversarial": 1.0, "feature_matching": 2.0}

Judged = tuple[Tensor, list[Tensor]]
"""A member's score map, and the features of each layer before it."""


class Stack(nn.Module):
    """Convolutions whose outputs are the features; the last one gives the score map."""

    def __init__(self, layers: Sequence[nn.Module], score: nn.Module, norm: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(norm(layer) for layer in layers)
        self.score = norm(score)

    def forward(self, x: Tensor) -> Judged:
        """Input `[B, 1, …]` to the score map `[B, 1, …]` and the features."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.score(x), features


def period_stack(divisor: int = 1) -> Stack:
    """One member of MPD, with its channels divided by `divisor`; takes `[B, 1, T / period, period]`."""
    widths = [1, *(width // divisor for width in PERIOD_WIDTHS)]
    last = widths[-1]
    layers = [nn.Conv2d(a, b, (5, 1), stride=(3, 1), padding=(2, 0)) for a, b in pairwise(widths)]
    layers.append(nn.Conv2d(last, last, (5, 1), padding=(2, 0)))
    return Stack(layers, nn.Conv2d(last, 1, (3, 1), padding=(1, 0)), weight_norm)


def scale_stack(norm: Callable[[nn.Module], nn.Module], divisor: int = 1) -> Stack:
    """One member of MSD, with its channels divided by `divisor`; takes `[B, 1, T]`."""
    layers, before = [], 1
    for channels, kernel, stride, groups in SCALE_LAYERS:
        width = channels // divisor
        layers.append(nn.Conv1d(before, width, kernel, stride, kernel // 2, groups=min(groups, before)))
        before = width
    return Stack(layers, nn.Conv1d(before, 1, 3, padding=1), norm)


class PlainDiscriminators(nn.Module):
    """MPD and MSD: 70.7 million parameters at `divisor` 1, the recipe's size; other values are for tests."""

    def __init__(self, divisor: int = 1) -> None:
        super().__init__()
        self.periods = nn.ModuleList(period_stack(divisor) for _ in PERIODS)
        norms: list[Any] = [spectral_norm, *[weight_norm] * (SCALES - 1)]
        self.scales = nn.ModuleList(scale_stack(norm, divisor) for norm in norms)

    def forward(self, x: Tensor) -> list[Judged]:
        """Waveforms `[B, 1, T]` to one score map with features per member."""
        answers = []
        for period, member in zip(PERIODS, self.periods, strict=True):
            padded = F.pad(x, (0, -x.shape[-1] % period), "reflect")
            answers.append(member(padded.reshape(x.shape[0], 1, -1, period)))
        for number, member in enumerate(self.scales):
            answers.append(member(x))
            if number < SCALES - 1:
                x = F.avg_pool1d(x, 4, 2, padding=2)
        return answers


@dataclass
class Plain:
    """The recipe's networks and optimisers."""

    generator: Any
    discriminators: PlainDiscriminators
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer


def make_plain(device: torch.device | str, *, size: str = "base", divisor: int = 1) -> Plain:
    """New networks and optimisers on `device`; by default at the size of the recipe."""
    generator: Any = make_generator(GeneratorSettings("reference", size, "degraded"))
    generator.to(device)
    discriminators = PlainDiscriminators(divisor).to(device)
    adam = [torch.optim.AdamW(net.parameters(), LEARNING_RATE, BETAS) for net in (generator, discriminators)]
    return Plain(generator, discriminators, *adam)


def plain_step(
    plain: Plain, degraded: Tensor, clean: Tensor, autocast: Callable[[], AbstractContextManager[Any]]
) -> dict[str, Tensor]:
    """One update of the discriminators and one of the generator on waveforms `[B, 1, T]`; returns losses by name."""
    generator, judges = plain.generator, plain.discriminators
    with autocast():
        with torch.no_grad():
            restored = generator(degraded)
        on_clean, on_restored = judges(clean), judges(restored)
        d_real = _mean([(1 - score).square().mean() for score, _ in on_clean])
        d_fake = _mean([score.square().mean() for score, _ in on_restored])
    plain.discriminator_optimizer.zero_grad()
    torch.autograd.backward(d_real + d_fake)
    plain.discriminator_optimizer.step()

    with autocast():
        restored = generator(degraded)
        on_restored, on_clean = judges(restored), judges(clean)
        pairs = [
            (ours, theirs.detach())
            for (_, r), (_, c) in zip(on_restored, on_clean, strict=True)
            for ours, theirs in zip(r, c, strict=True)
        ]
        terms = {
            "l1": (restored - clean).abs().mean(),
            "multi_stft": _multi_stft(restored.float(), clean),
            "adversarial": _mean([(1 - score).square().mean() for score, _ in on_restored]),
            "feature_matching": _mean([(ours - theirs).abs().mean() for ours, theirs in pairs]),
        }
        total = torch.stack([WEIGHTS[name] * value.float() for name, value in terms.items()]).sum()
    plain.generator_optimizer.zero_grad()
    torch.autograd.backward(total)
    plain.generator_optimizer.step()
    return {"d_real": d_real.detach(), "d_fake": d_fake.detach()} | {n: value.detach() for n, value in terms.items()}


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def _multi_stft(estimate: Tensor, reference: Tensor) -> Tensor:
    """Spectral convergence and log magnitudes, with windows created anew in each call as in a plain loop."""
    total = estimate.new_zeros(())
    for size in WINDOWS:
        window = torch.hann_window(size, device=estimate.device)
        e, r = (
            torch.stft(x[:, 0], size, size // 4, window=window, return_complex=True).abs().clamp_min(1e-7)
            for x in (estimate, reference)
        )
        total = total + torch.linalg.norm(r - e) / torch.linalg.norm(r) + (r.log() - e.log()).abs().mean()
    return total / len(WINDOWS)
