"""Perceived disturbance up to 8 kHz: added loudness counts more than missing loudness."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timbre_restore.audio import SAMPLE_RATE_HZ
from timbre_restore.losses.waveform import Waveform, waveform_of

WINDOW = 1536
HOP = WINDOW // 2
TOP_HZ = 8000.0
BARK_STEP = 0.5
LEVEL_DB = 79.0
"""Sound pressure level at which a normalised voice, RMS 0.1, is heard (ITU-T P.862)."""
GAIN_OFFSET = 5e3
"""Added to both audible powers of a frame before their ratio is taken (P.862 and PMSQE, see `Perceptual`)."""
LEAST_GAIN, MOST_GAIN = 3e-4, 5.0
"""Bounds of the gain that aligns a frame's level with the reference (P.862 and PMSQE)."""
LOUDNESS_SCALE = 0.187
LOUDNESS_EXPONENT = 0.23
MASKED = 0.25
"""Share of the smaller loudness up to which a difference is masked (P.862 and PMSQE)."""
ASYMMETRY_OFFSET = 50.0
"""Added to both powers of a band before taking the ratio that weights added sound (P.862 and PMSQE)."""
ASYMMETRY_EXPONENT = 1.2
LEAST_ASYMMETRY, MOST_ASYMMETRY = 3.0, 12.0
"""The weight of added sound is 0 below the first and limited to the second (P.862 and PMSQE)."""
SYLLABLE_FRAMES = 20
LOUDEST = 45.0
"""Upper limit of the disturbance of a frame."""
SYMMETRIC, ASYMMETRIC = 0.1, 0.0309
"""How much one unit of either disturbance subtracts from a raw score of 4.5 (P.862, §10.2)."""


class Perceptual(nn.Module):
    """How far a raw PESQ score lies below 4.5, in differentiable form.

        P_E  ← P_E · clamp((ΣP_R + 5e3) / (ΣP_E + 5e3), 3e-4, 5)    the overall level of a frame is not penalised
        L    = S · (T / 0.5)^0.23 · ((0.5 + 0.5·P / T)^0.23 − 1)    loudness of a band, P its power, T its threshold
        d    = max(|L_E − L_R| − 0.25 · min(L_E, L_R), 0)           masked differences are not heard
        h    = ((P_E + 50) / (P_R + 50))^1.2, 0 below 3, at most 12 added sound is penalised more
        D, A = W·√(Σ (w·d)² / W),  Σ w·h·d                          per frame, w half a Bark and W = Σ w
        loss = 0.1 · |D| + 0.0309 · |A|                             |·|: L6 over 20 frames, L2 over those

    After ITU-T P.862 (2001, §10.2) and PMSQE (Martín-Doñas et al. 2018, IEEE Signal Processing Letters 25), which first
    turned it into a loss. The half-Bark bands are from Zwicker & Terhardt (1980, eq. 1), the threshold in quiet is from
    Terhardt (1979, eq. 1). P.862 also aligns the two signals in time and compensates for a constant filter; here the
    signals are already aligned, and the filtering is the very damage to measure. On recordings, the loss follows the
    raw score of the P.862.2 program with a correlation of 0.95 (`benchmarks/perceptual.py`).
    """

    window: Tensor
    bands: Tensor
    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        bands, threshold = bark_bands()
        self.register_buffer("bands", bands, persistent=False)
        self.register_buffer("threshold", threshold, persistent=False)

    def forward(self, estimate: Tensor | Waveform, reference: Tensor | Waveform) -> Tensor:
        """Waveforms `[B, 1, T]` to one value per item `[B]`."""
        ours, theirs = (self._power(waveform_of(x)) for x in (estimate, reference))
        gain = (self._heard(theirs) + GAIN_OFFSET) / (self._heard(ours) + GAIN_OFFSET)
        ours = ours * gain.clamp(LEAST_GAIN, MOST_GAIN)
        our_loudness, their_loudness = self._loudness(ours), self._loudness(theirs)
        masked = MASKED * torch.minimum(our_loudness, their_loudness)
        disturbance = BARK_STEP * ((our_loudness - their_loudness).abs() - masked).clamp_min(0.0)
        added = ((ours + ASYMMETRY_OFFSET) / (theirs + ASYMMETRY_OFFSET)) ** ASYMMETRY_EXPONENT
        added = torch.where(added < LEAST_ASYMMETRY, 0.0, added.clamp_max(MOST_ASYMMETRY))
        whole = BARK_STEP * len(self.bands)
        symmetric = whole * torch.sqrt(disturbance.square().sum(dim=1) / whole + 1e-8)
        asymmetric = (added * disturbance).sum(dim=1)
        return SYMMETRIC * _over_time(symmetric) + ASYMMETRIC * _over_time(asymmetric)

    def _power(self, sound: Waveform) -> Tensor:
        """Power of each band `[B, bands, N]`, where 1 is a sound pressure level of 0 dB."""
        spectrum = sound.spectrum(self.window, HOP)[:, : self.bands.shape[1]]
        return self.bands @ (spectrum.real.square() + spectrum.imag.square())

    def _heard(self, power: Tensor) -> Tensor:
        """Audible power of each frame: the sum over bands above their threshold, `[B, 1, N]`."""
        return (power * (power > self.threshold)).sum(dim=1, keepdim=True)

    def _loudness(self, power: Tensor) -> Tensor:
        """Zwicker's specific loudness in sone per Bark `[B, bands, N]`; 0 at the threshold and below."""
        size = (self.threshold / 0.5) ** LOUDNESS_EXPONENT
        level = (0.5 + 0.5 * power / self.threshold).clamp_min(1.0)
        return LOUDNESS_SCALE * size * (level**LOUDNESS_EXPONENT - 1.0)


def _over_time(disturbance: Tensor) -> Tensor:
    """`[B, N]` to `[B]`: a syllable is rated by its worst frames, a sentence by the average of its syllables."""
    frames = min(SYLLABLE_FRAMES, disturbance.shape[1])
    syllables = (disturbance.clamp_max(LOUDEST) + 1e-4).unfold(1, frames, max(frames // 2, 1))
    return syllables.pow(6).mean(dim=2).pow(1 / 6).square().mean(dim=1).sqrt()


def bark_bands() -> tuple[Tensor, Tensor]:
    """Matrix `[bands, bins]` that sums bins into bands as sound pressure, and thresholds in quiet `[bands, 1]`."""
    bins_khz = torch.arange(1, int(TOP_HZ * WINDOW / SAMPLE_RATE_HZ) + 1) * (SAMPLE_RATE_HZ / WINDOW / 1000.0)
    bark = 13.0 * torch.atan(0.76 * bins_khz) + 3.5 * torch.atan((bins_khz / 7.5).square())
    index = (bark / BARK_STEP).long()
    threshold_db = 3.64 * bins_khz**-0.8 - 6.5 * torch.exp(-0.6 * (bins_khz - 3.3).square()) + 1e-3 * bins_khz**4
    member = (index[None, :] == torch.arange(int(index.max()) + 1)[:, None]).float()  # no half Bark lacks a bin
    threshold = 10.0 ** ((member @ threshold_db) / member.sum(dim=1) / 10.0)
    # A frame with RMS a has Σ |X|² = a² · WINDOW · Σ w² / 2 over the one-sided bins, and Σ w² is 3/8 of the window
    # length.
    unit = 10.0 ** (LEVEL_DB / 10.0) / (0.1**2 * WINDOW * (0.375 * WINDOW) / 2.0)
    return F.pad(unit * member, (1, 0)), threshold[:, None]  # 0 Hz is inaudible
