"""Distances between two waveforms `[B, 1, T]`, one value per item `[B]`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from timbre_restore.losses.waveform import Waveform, waveform_of

SILENT_RMS = 0.05
"""RMS of the white noise (-26 dBFS) whose norm is the least divisor of the spectral convergence."""


def item_gain(clean: Tensor, *, target: float = 0.1, floor: float = 3e-3) -> Tensor:
    """Gain per item `[B, 1, 1]` that brings the RMS of `clean` `[B, 1, T]` to `target` (-20 dBFS).

    It is applied to both estimate and reference before any loss, so that a quiet voice counts as much as a loud one;
    the floor (-50 dBFS) keeps silence silent.
    """
    level = clean.square().mean(dim=(1, 2), keepdim=True).sqrt()
    return target / level.clamp_min(floor)


def l1(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of samples, `[B]`: mean_t |e - r|."""
    return (estimate - reference).abs().mean(dim=(1, 2))


class MultiResolutionSTFT(nn.Module):
    """Spectral convergence plus log-magnitude distance, averaged over resolutions (Yamamoto et al. 2020, eq. 4-6).

        sc  = ||R - E||_F / max(||R||_F, s)    per item
        mag = mean |log10(R + e) - log10(E + e)|   with e = 10^-5 of a full-scale sine's peak magnitude

    The logarithm is decimal and its floor is relative to full scale, so that inaudible cells below the resolution of
    16 bits do not dominate the value. Hann windows, hop = window / 4.

    s is the norm of white noise at -26 dBFS, half the level to which `item_gain` normalises a voice: without it, one
    silent item, divided by nearly zero, weighs as much as a hundred voices.
    """

    def __init__(self, windows: Sequence[int] = (2048, 1024, 512), floor: float = 1e-5) -> None:
        super().__init__()
        self.windows = tuple(windows)
        self.floor = floor
        for size in self.windows:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def magnitudes(self, x: Tensor | Waveform) -> list[Tensor]:
        """`[B, 1, T]` to magnitudes `[B, F, N]` per resolution, where a full-scale sine peaks at 1."""
        out, sound = [], waveform_of(x)
        for size in self.windows:
            spectrum = sound.spectrum(self.get_buffer(f"window_{size}"), size // 4)
            # A small constant under the square root, because the gradient of |z| at 0 is NaN.
            power = spectrum.real.square() + spectrum.imag.square()
            out.append(torch.sqrt(power + 1e-14) / (size / 4))
        return out

    def forward(self, estimate: Tensor | Waveform, reference: Tensor | Waveform) -> Tensor:
        """Waveforms `[B, 1, T]` to one value per item `[B]`."""
        values = []
        for e, r in zip(self.magnitudes(estimate), self.magnitudes(reference), strict=True):
            convergence = _norm(r - e) / _norm(r).clamp_min(_noise_norm(r.shape[-1]))
            distance = (torch.log10(r + self.floor) - torch.log10(e + self.floor)).abs().mean(dim=(1, 2))
            values.append(convergence + distance)
        return torch.stack(values).mean(dim=0)


def _noise_norm(frames: int) -> float:
    """||X||_F of white noise with RMS 0.05: the squared magnitudes of a frame, scaled as above, sum to 3·RMS²."""
    return math.sqrt(3.0 * frames) * SILENT_RMS


def _norm(x: Tensor) -> Tensor:
    return torch.sqrt(x.square().sum(dim=(1, 2)) + 1e-12)
