"""Distances between two waveforms `[B, 1, T]`, a value per item `[B]`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from timbre_restore.losses.sound import Sound, sound_of

SILENT_RMS = 0.05


def item_gain(clean: Tensor, *, target: float = 0.1, floor: float = 3e-3) -> Tensor:
    """Gain per item `[B, 1, 1]` that brings the clean RMS to `target` (-20 dBFS).

    Applied to estimate and reference alike before any loss, so that a quiet voice counts as much as a loud one; the
    floor (-50 dBFS) keeps silence silent.
    """
    level = clean.square().mean(dim=(1, 2), keepdim=True).sqrt()
    return target / level.clamp_min(floor)


def l1(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of samples: mean_t |e - r|."""
    return (estimate - reference).abs().mean(dim=(1, 2))


class MultiResolutionSTFT(nn.Module):
    """Spectral convergence plus log-magnitude distance, averaged over resolutions (Yamamoto et al. 2020, eq. 4-6).

        sc  = ||R - E||_F / max(||R||_F, s)    per item
        mag = mean |log10(R + e) - log10(E + e)|   with e = 10^-5 of a full-scale sine's peak magnitude

    The logarithm is decadic and its floor relative to full scale, so that cells below the 16-bit grid, which nobody
    hears, do not decide the value. Hann windows, hop = window / 4.

    s is the norm of white noise at -26 dBFS, half the level that `item_gain` evens a voice to: without it one item of
    silence, divided by nearly nothing, weighs as much as a hundred voices.
    """

    def __init__(self, windows: Sequence[int] = (2048, 1024, 512), floor: float = 1e-5) -> None:
        super().__init__()
        self.windows = tuple(windows)
        self.floor = floor
        for size in self.windows:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def magnitudes(self, x: Tensor | Sound) -> list[Tensor]:
        """`[B, 1, T]` to magnitudes `[B, F, N]` per resolution, where a full-scale sine peaks at 1."""
        out, sound = [], sound_of(x)
        for size in self.windows:
            spectrum = sound.spectrum(self.get_buffer(f"window_{size}"), size // 4)
            # The square root of a sum with a tiny constant: the gradient of |z| at 0 is not a number.
            power = spectrum.real.square() + spectrum.imag.square()
            out.append(torch.sqrt(power + 1e-14) / (size / 4))
        return out

    def forward(self, estimate: Tensor | Sound, reference: Tensor | Sound) -> Tensor:
        values = []
        for e, r in zip(self.magnitudes(estimate), self.magnitudes(reference), strict=True):
            convergence = _norm(r - e) / _norm(r).clamp_min(_noise_norm(r.shape[-1]))
            distance = (torch.log10(r + self.floor) - torch.log10(e + self.floor)).abs().mean(dim=(1, 2))
            values.append(convergence + distance)
        return torch.stack(values).mean(dim=0)


def _noise_norm(frames: int) -> float:
    """||X||_F of white noise with RMS 0.05: a frame's magnitudes, scaled as above, have the square sum 3·RMS²."""
    return math.sqrt(3.0 * frames) * SILENT_RMS


def _norm(x: Tensor) -> Tensor:
    return torch.sqrt(x.square().sum(dim=(1, 2)) + 1e-12)
