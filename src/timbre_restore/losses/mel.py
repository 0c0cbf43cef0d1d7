"""Distance between mel spectra at several resolutions, one value per item `[B]`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from timbre_restore.audio import SAMPLE_RATE_HZ
from timbre_restore.losses.waveform import Waveform, waveform_of

WINDOWS = (2048, 1024, 512, 256, 128, 64, 32)
BANDS = (320, 160, 80, 40, 20, 10, 5)
FLOOR = 1e-5
"""Relative to the peak magnitude of a full-scale sine, as in the multi-resolution STFT loss."""


class MultiScaleMel(nn.Module):
    """mean over scales of mean |log10(M(R) + e) − log10(M(E) + e)|, M: mel bands of the magnitudes, e = 10^-5.

    Scales and bands are those of Kumar et al. 2023 (arXiv 2306.06546, §3.4): windows of 32 to 2048 samples, hop =
    window / 4, 5 to 320 bands, no band above the Nyquist frequency. The filter of a band takes a mean over its bins, so
    that the floor means the same in narrow and wide bands.
    """

    def __init__(self) -> None:
        super().__init__()
        for window, bands in zip(WINDOWS, BANDS, strict=True):
            self.register_buffer(f"window_{window}", torch.hann_window(window), persistent=False)
            self.register_buffer(f"filters_{window}", mel_filters(window, bands), persistent=False)

    def forward(self, estimate: Tensor | Waveform, reference: Tensor | Waveform) -> Tensor:
        """Waveforms `[B, 1, T]` to one value per item `[B]`."""
        ours, theirs = waveform_of(estimate), waveform_of(reference)
        scales = [(self._level(ours, window) - self._level(theirs, window)).abs() for window in WINDOWS]
        return torch.stack([scale.mean(dim=(1, 2)) for scale in scales]).mean(dim=0)

    def _level(self, sound: Waveform, window: int) -> Tensor:
        """Decimal logarithm of the mel bands, `[B, bands, N]`."""
        spectrum = sound.spectrum(self.get_buffer(f"window_{window}"), window // 4)
        power = spectrum.real.square() + spectrum.imag.square()
        bands = self.get_buffer(f"filters_{window}") @ (torch.sqrt(power + 1e-14) / (window / 4))
        return torch.log10(bands + FLOOR)


def mel_filters(window: int, bands: int) -> Tensor:
    """Triangular filters `[bands, window / 2 + 1]` of equal width on the mel scale.

    mel = 2595·log10(1 + f / 700) (O'Shaughnessy 1987, p. 150). Each filter sums to 1. A filter that is too narrow to
    contain a bin takes the bin nearest to its centre.
    """
    bins_hz = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, window // 2 + 1, dtype=torch.float64)
    top = 2595.0 * torch.log10(torch.tensor(1.0 + SAMPLE_RATE_HZ / 2 / 700.0, dtype=torch.float64))
    corners = 700.0 * (10.0 ** (torch.linspace(0.0, 1.0, bands + 2, dtype=torch.float64) * top / 2595.0) - 1.0)
    low, centre, high = (corners[i : bands + i, None] for i in range(3))
    filters = torch.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)).clamp_min(0.0)
    nearest = (bins_hz - centre).abs().argmin(dim=1)
    empty = filters.sum(dim=1) == 0
    filters[empty, nearest[empty]] = 1.0
    return (filters / filters.sum(dim=1, keepdim=True)).float()
