"""Losses on the compressed spectrum of two waveforms `[B, 1, T]`, one value per item `[B]`.

A magnitude raised to the power of 0.3 is closer to loudness than the magnitude itself, so quiet bands count too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from timbre_restore.losses.waveform import Waveform, waveform_of

EXPONENT = 0.3
WINDOW = 960
SILENT = 1e-4
"""A cell of the reference is silent below this magnitude: -80 dB relative to a full-scale sine, 60 dB below a
normalised voice."""
NAMES = ("compressed", "over_attenuation", "silence")


class CompressedSpectrum(nn.Module):
    """Three losses on one STFT (Hann 960, hop 480), E and R scaled so that a full-scale sine peaks at 1.

        compressed       = 0.7 · mean (|R|^c − |E|^c)² + 0.3 · mean | R|R|^(c−1) − E|E|^(c−1) |²        c = 0.3
        over_attenuation = mean relu(|R|^c − |E|^c)²
        silence          = mean relu(|E|^c − |R|^c)² · [|R| < 10^-4]

    The first follows Braun & Tashev 2021 (eq. 4, with their weight for the complex part), the second DPDFNet (arXiv
    2512.16420): only what is missing is penalised. The third, this project's own, is its counterweight: it penalises
    sound where the reference is silent.
    """

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(
        self, estimate: Tensor | Waveform, reference: Tensor | Waveform, names: tuple[str, ...] = NAMES
    ) -> dict[str, Tensor]:
        """Waveforms `[B, 1, T]` to the losses listed in `names`, each one value per item `[B]`."""
        (ours, ours_size), (theirs, theirs_size) = (self._compressed(waveform_of(x)) for x in (estimate, reference))
        missing = theirs_size - ours_size
        values = {}
        if "compressed" in names:
            whole = (theirs - ours).square().sum(dim=-1)
            values["compressed"] = (0.7 * missing.square() + 0.3 * whole).mean(dim=(1, 2))
        if "over_attenuation" in names:
            values["over_attenuation"] = missing.clamp_min(0.0).square().mean(dim=(1, 2))
        if "silence" in names:
            silent = theirs_size < SILENT**EXPONENT
            values["silence"] = (missing.clamp_max(0.0).square() * silent).mean(dim=(1, 2))
        return values

    def _compressed(self, sound: Waveform) -> tuple[Tensor, Tensor]:
        """Compressed spectrum `[B, F, N, 2]` and its magnitude `[B, F, N]`."""
        parts = torch.view_as_real(sound.spectrum(self.window, WINDOW // 2)) / (WINDOW / 4)
        # The floor of -120 dB keeps the gradient of an exponent below 1 finite in silence.
        power = parts.square().sum(dim=-1) + 1e-12
        return parts * power.unsqueeze(-1) ** ((EXPONENT - 1) / 2), power ** (EXPONENT / 2)
