"""What a listener minds up to 8 kHz: loudness that was added counts more than loudness that is missing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timbre_restore.audio import SAMPLE_RATE_HZ
from timbre_restore.losses.sound import Sound, sound_of

WINDOW = 1536
HOP = WINDOW // 2
TOP_HZ = 8000.0
BARK_STEP = 0.5
LEVEL_DB = 79.0
"""Sound pressure level at which an even voice, RMS 0.1, is heard (ITU-T P.862)."""
LOUDNESS_SCALE = 0.187
LOUDNESS_EXPONENT = 0.23
SYLLABLE_FRAMES = 20
LOUDEST = 45.0
"""No frame disturbs more than this."""
SYMMETRIC, ASYMMETRIC = 0.1, 0.0309
"""What a unit of either disturbance takes from a raw score of 4.5 (P.862, §10.2)."""


class Perceptual(nn.Module):
    """How far a raw PESQ score lies below 4.5, with a gradient.

        P_E  ← P_E · clamp((ΣP_R + 5e3) / (ΣP_E + 5e3), 3e-4, 5)    a frame's level is not what is minded
        L    = S · (T / 0.5)^0.23 · ((0.5 + 0.5·P / T)^0.23 − 1)    loudness of a band, P its power, T its threshold
        d    = max(|L_E − L_R| − 0.25 · min(L_E, L_R), 0)           what is masked is not heard
        h    = ((P_E + 50) / (P_R + 50))^1.2, 0 below 3, at most 12 what was added is minded more
        D, A = W·√(Σ (w·d)² / W),  Σ w·h·d                          of a frame, w half a Bark and W = Σ w
        loss = 0.1 · |D| + 0.0309 · |A|                             |·|: L6 over 20 frames, L2 over those

    After ITU-T P.862 (2001, §10.2) and PMSQE (Martín-Doñas et al. 2018, IEEE Signal Processing Letters 25), which first
    made a loss of it. Half-Bark bands are Zwicker & Terhardt's (1980, eq. 1), the threshold in quiet is Terhardt's
    (1979, eq. 1). P.862 aligns the two signals in time and evens out a constant filter; these are aligned, and a
    filter is what the voice lost. On recordings it follows the raw score of P.862.2's program with a correlation of
    0.95 (`benchmarks/perceptual.py`).
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

    def forward(self, estimate: Tensor | Sound, reference: Tensor | Sound) -> Tensor:
        ours, theirs = (self._power(sound_of(x)) for x in (estimate, reference))
        ours = ours * ((self._heard(theirs) + 5e3) / (self._heard(ours) + 5e3)).clamp(3e-4, 5.0)
        our_loudness, their_loudness = self._loudness(ours), self._loudness(theirs)
        masked = 0.25 * torch.minimum(our_loudness, their_loudness)
        disturbance = BARK_STEP * ((our_loudness - their_loudness).abs() - masked).clamp_min(0.0)
        added = ((ours + 50.0) / (theirs + 50.0)) ** 1.2
        added = torch.where(added < 3.0, 0.0, added.clamp_max(12.0))
        whole = BARK_STEP * len(self.bands)
        symmetric = whole * torch.sqrt(disturbance.square().sum(dim=1) / whole + 1e-8)
        asymmetric = (added * disturbance).sum(dim=1)
        return SYMMETRIC * _over_time(symmetric) + ASYMMETRIC * _over_time(asymmetric)

    def _power(self, sound: Sound) -> Tensor:
        """Power of each band `[B, bands, N]`, where 1 is 0 dB of sound pressure level."""
        spectrum = sound.spectrum(self.window, HOP)[:, : self.bands.shape[1]]
        return self.bands @ (spectrum.real.square() + spectrum.imag.square())

    def _heard(self, power: Tensor) -> Tensor:
        """What of a frame lies above the threshold, `[B, 1, N]`."""
        return (power * (power > self.threshold)).sum(dim=1, keepdim=True)

    def _loudness(self, power: Tensor) -> Tensor:
        """Zwicker's specific loudness, sone per Bark, 0 at the threshold and below."""
        size = (self.threshold / 0.5) ** LOUDNESS_EXPONENT
        level = (0.5 + 0.5 * power / self.threshold).clamp_min(1.0)
        return LOUDNESS_SCALE * size * (level**LOUDNESS_EXPONENT - 1.0)


def _over_time(disturbance: Tensor) -> Tensor:
    """`[B, N]` to `[B]`: a syllable is as bad as its worst frames, a sentence as its syllables on average."""
    frames = min(SYLLABLE_FRAMES, disturbance.shape[1])
    syllables = (disturbance.clamp_max(LOUDEST) + 1e-4).unfold(1, frames, max(frames // 2, 1))
    return syllables.pow(6).mean(dim=2).pow(1 / 6).square().mean(dim=1).sqrt()


def bark_bands() -> tuple[Tensor, Tensor]:
    """Which bins a band sums, scaled to sound pressure `[bands, bins]`, and its threshold in quiet `[bands, 1]`."""
    bins_khz = torch.arange(1, int(TOP_HZ * WINDOW / SAMPLE_RATE_HZ) + 1) * (SAMPLE_RATE_HZ / WINDOW / 1000.0)
    bark = 13.0 * torch.atan(0.76 * bins_khz) + 3.5 * torch.atan((bins_khz / 7.5).square())
    index = (bark / BARK_STEP).long()
    threshold_db = 3.64 * bins_khz**-0.8 - 6.5 * torch.exp(-0.6 * (bins_khz - 3.3).square()) + 1e-3 * bins_khz**4
    member = (index[None, :] == torch.arange(int(index.max()) + 1)[:, None]).float()  # no half Bark is without a bin
    threshold = 10.0 ** ((member @ threshold_db) / member.sum(dim=1) / 10.0)
    # A frame of RMS a has Σ |X|² = a² · WINDOW · Σ w² / 2 over one side's bins, and Σ w² is 3/8 of the window.
    unit = 10.0 ** (LEVEL_DB / 10.0) / (0.1**2 * WINDOW * (0.375 * WINDOW) / 2.0)
    return F.pad(unit * member, (1, 0)), threshold[:, None]  # 0 Hz is no sound
