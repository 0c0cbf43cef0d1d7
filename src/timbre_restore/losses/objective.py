"""The reconstruction losses by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from timbre_restore.losses import compressed
from timbre_restore.losses.cells import Cells
from timbre_restore.losses.compressed import CompressedSpectrum
from timbre_restore.losses.mel import MultiScaleMel
from timbre_restore.losses.perceptual import Perceptual
from timbre_restore.losses.reconstruction import MultiResolutionSTFT, l1
from timbre_restore.losses.waveform import Waveform

RECONSTRUCTION = ("l1", "multi_stft", "mel", "perceptual", "cells", *compressed.NAMES)
"""Every loss that compares waveforms; those of the GAN are `adversarial` and `feature_matching`."""


class Objective(nn.Module):
    """The losses with a positive weight; the others are neither built nor computed.

    `multi_stft` is always built, because validation reports it.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.multi_stft = MultiResolutionSTFT()
        self._names = tuple(name for name in RECONSTRUCTION if weights.get(name, 0.0) > 0)
        self._compressed = tuple(name for name in self._names if name in compressed.NAMES)
        if "mel" in self._names:
            self.mel = MultiScaleMel()
        if "perceptual" in self._names:
            self.perceptual = Perceptual()
        if "cells" in self._names:
            self.cells = Cells()
        if self._compressed:
            self.compressed = CompressedSpectrum()

    def forward(self, estimate: Waveform, reference: Waveform) -> dict[str, Tensor]:
        """Waveforms `[B, 1, T]` to each loss by its name, one value per item `[B]`."""
        own: dict[str, Callable[[], Tensor]] = {
            "l1": lambda: l1(estimate.wave, reference.wave),
            "multi_stft": lambda: self.multi_stft(estimate, reference),
            "mel": lambda: self.mel(estimate, reference),
            "perceptual": lambda: self.perceptual(estimate, reference),
            "cells": lambda: self.cells(estimate, reference),
        }
        values = {name: own[name]() for name in self._names if name in own}
        if self._compressed:
            values |= self.compressed(estimate, reference, self._compressed)
        return values
