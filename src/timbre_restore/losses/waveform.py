"""A waveform with its spectra: a spectrum used by several losses and discriminators is computed only once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Waveform:
    """A waveform `[B, 1, T]` and those of its spectra that have been requested so far."""

    def __init__(self, wave: Tensor) -> None:
        self.wave = wave
        self._spectra: dict[tuple[int, int], Tensor] = {}

    def spectrum(self, window: Tensor, hop: int) -> Tensor:
        """Complex STFT `[B, F, N]` without padding; repeated calls return the same tensor.

        Spectra are cached by window length and hop: all windows here are Hann windows.
        """
        key = (len(window), hop)
        if key not in self._spectra:
            self._spectra[key] = torch.stft(
                self.wave[:, 0], len(window), hop, window=window, center=False, return_complex=True
            )
        return self._spectra[key]

    @property
    def quarter_hop_spectra(self) -> dict[int, Tensor]:
        """The cached spectra whose hop is a quarter of their window, by window length."""
        return {window: spectrum for (window, hop), spectrum in self._spectra.items() if 4 * hop == window}

    def cut(self, starts: Sequence[int], length: int) -> Waveform:
        """`length` samples of each item, beginning at its own start, with the cached spectra cut to match.

        Because spectra have no padding, one can be cut by frames if every start is a multiple of its hop; the others
        are dropped.
        """
        part = Waveform(_windows(self.wave, starts, length))
        for (window, hop), spectrum in self._spectra.items():
            if length >= window and not any(at % hop for at in starts):
                frames = (length - window) // hop + 1
                part._spectra[window, hop] = _windows(spectrum, [at // hop for at in starts], frames)
        return part


def _windows(x: Tensor, starts: Sequence[int], length: int) -> Tensor:
    """`[B, C, N]` to `[B, C, length]`, each item from its own start, in one operation for any batch size."""
    first = torch.tensor(starts)
    if x.is_cuda:
        first = first.pin_memory().to(x.device, non_blocking=True)  # otherwise the device would have to finish first
    index = first[:, None] + torch.arange(length, device=x.device)
    return x.gather(2, index[:, None].expand(-1, x.shape[1], -1))


def waveform_of(x: Tensor | Waveform) -> Waveform:
    """`x` itself if it is a `Waveform`, otherwise a `Waveform` of the waveform `x` `[B, 1, T]`."""
    return x if isinstance(x, Waveform) else Waveform(x)
