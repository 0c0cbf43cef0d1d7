"""The suppressor's view of sound in torch: frames of 960 samples every 480, as `audio.frames` has them.

A frame is known by the hop that it ends with. Here frame n of a signal covers hops n and n + 1, because a segment's own
first hop is the earliest sound that there is. Spectra are real tensors `[B, N, 481, 2]`: an exported graph knows no
complex numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timbre_restore.audio import HINT_VALUES, HOP_SAMPLES
from timbre_restore.audio.frames import BAND_WIDTHS, ERB_BANDS, FILTERED_BINS, WINDOW, WINDOW_SHAPE


class Frames(nn.Module):
    """Analysis and synthesis, and the suppressor's spectrum from what a corpus keeps of it."""

    window: Tensor
    band_of_bin: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.from_numpy(WINDOW_SHAPE.copy()), persistent=False)
        bands = torch.repeat_interleave(torch.arange(ERB_BANDS), torch.from_numpy(BAND_WIDTHS))
        self.register_buffer("band_of_bin", bands, persistent=False)

    def analyse(self, x: Tensor) -> Tensor:
        """Waves `[B, 1, T]`, T whole hops, to spectra `[B, T / 480 - 1, 481, 2]`."""
        frames = x[:, 0].unfold(-1, WINDOW, HOP_SAMPLES) * self.window
        spectra: Tensor = torch.fft.rfft(frames.float()) / WINDOW
        return torch.view_as_real(spectra)

    def synthesise(self, spectra: Tensor) -> Tensor:
        """Spectra `[B, N, 481, 2]` to waves `[B, 1, 480·N]`; the first hop lacks a frame before, the last tail goes."""
        frames = torch.fft.irfft(torch.view_as_complex(spectra.contiguous().float()), n=WINDOW) * WINDOW * self.window
        fresh, tails = frames[..., :HOP_SAMPLES], frames[..., HOP_SAMPLES:]
        hops: Tensor = fresh + F.pad(tails[:, :-1], (0, 0, 1, 0))
        return hops.flatten(1).unsqueeze(1)

    def suppressed(self, noisy: Tensor, hints: Tensor, analysed: Tensor) -> Tensor:
        """The spectrum `[B, N, 481, 2]` that the suppressor had before synthesis.

        From `noisy` `[B, N, 481, 2]` of the same frames and stored `hints` `[B, N, 225]`; where these are NaN, from the
        analysis of the suppressed wave, which is that spectrum blurred by one synthesis.
        """
        gains = hints[..., :ERB_BANDS][..., self.band_of_bin]
        low = hints[..., HINT_VALUES - 2 * FILTERED_BINS :].reshape(*hints.shape[:2], FILTERED_BINS, 2)
        made = torch.cat([low, (gains.unsqueeze(-1) * noisy)[:, :, FILTERED_BINS:]], dim=2)
        return torch.where(torch.isnan(hints[..., :1, None]), analysed, made)
