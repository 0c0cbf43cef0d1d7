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
        part = Sound(torch.stack([x[:, at : at + length] for x, at in zip(self.wave, starts, strict=True)]))
        for (window, hop), spectrum in self._spectra.items():
            if length >= window and not any(at % hop for at in starts):
                frames = (length - window) // hop + 1
                cuts = [x[:, at // hop : at // hop + frames] for x, at in zip(spectrum, starts, strict=True)]
                part._spectra[window, hop] = torch.stack(cuts)
        return part


def sound_of(x: Tensor | Sound) -> Sound:
    """`x`, or the sound of the waveform `x`."""
    return x if isinstance(x, Sound) else Sound(x)
