"""A waveform beside its spectra: what several losses and discriminators look at is computed once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Sound:
    """A waveform `[B, 1, T]` and the spectra of it that somebody has asked for."""

    def __init__(self, wave: Tensor) -> None:
        self.wave = wave
        self._spectra: dict[tuple[int, int], Tensor] = {}

    def spectrum(self, window: Tensor, hop: int) -> Tensor:
        """Complex STFT `[B, F, N]`, not padded; asked for again it is the same tensor.

        Known by length and hop: all windows here are Hann's.
        """
        key = (len(window), hop)
        if key not in self._spectra:
            self._spectra[key] = torch.stft(
                self.wave[:, 0], len(window), hop, window=window, center=False, return_complex=True
            )
        return self._spectra[key]

    @property
    def quarter_hop_spectra(self) -> dict[int, Tensor]:
        """Those at hand whose hop is a quarter of their window, by window."""
        return {window: spectrum for (window, hop), spectrum in self._spectra.items() if 4 * hop == window}

    def cut(self, starts: Sequence[int], length: int) -> Sound:
        """`length` samples of each item from its start on, with what is at hand of their spectra.

        A spectrum that is not padded is cut by frames, where each start is one of its hops.
        """
        part = Sound(_windows(self.wave, starts, length))
        for (window, hop), spectrum in self._spectra.items():
            if length >= window and not any(at % hop for at in starts):
                frames = (length - window) // hop + 1
                part._spectra[window, hop] = _windows(spectrum, [at // hop for at in starts], frames)
        return part


def _windows(x: Tensor, starts: Sequence[int], length: int) -> Tensor:
    """`[B, C, length]` of `[B, C, N]`, each item's from its own start: one operation, whatever the batch."""
    first = torch.tensor(starts)
    if x.is_cuda:
        first = first.pin_memory().to(x.device, non_blocking=True)  # or the device would have to finish first
    index = first[:, None] + torch.arange(length, device=x.device)
    return x.gather(2, index[:, None].expand(-1, x.shape[1], -1))


def sound_of(x: Tensor | Sound) -> Sound:
    """`x`, or the sound of the waveform `x`."""
    return x if isinstance(x, Sound) else Sound(x)
