"""The suppressor's frames in torch: 960 samples every 480, as in `audio.frames`.

A frame is identified by the hop with which it ends. Here, frame n of a signal covers hops n and n + 1, because the
first hop of a segment is the earliest sound available. Spectra are real tensors `[B, 2, N, 481]` with real and
imaginary parts: an exported graph has no complex numbers, and operates along the bins.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timbre_restore.audio import HINT_VALUES, HOP_SAMPLES
from timbre_restore.audio.frames import BAND_WIDTHS, ERB_BANDS, FILTERED_BINS, WINDOW, WINDOW_SHAPE


class Frames(nn.Module):
    """Analysis and synthesis, and reconstruction of the suppressor's spectrum from the hints that a corpus stores."""

    window: Tensor
    band_of_bin: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.from_numpy(WINDOW_SHAPE.copy()), persistent=False)
        bands = torch.repeat_interleave(torch.arange(ERB_BANDS), torch.from_numpy(BAND_WIDTHS))
        self.register_buffer("band_of_bin", bands, persistent=False)

    def analyse(self, x: Tensor) -> Tensor:
        """Waveforms `[B, 1, T]`, T a multiple of the hop, to spectra `[B, 2, T / 480 - 1, 481]`."""
        frames = x[:, 0].unfold(-1, WINDOW, HOP_SAMPLES) * self.window
        spectra: Tensor = torch.fft.rfft(frames.float()) / WINDOW
        return torch.view_as_real(spectra).permute(0, 3, 1, 2)

    def synthesise(self, spectra: Tensor) -> Tensor:
        """Spectra `[B, 2, N, 481]` to waveforms `[B, 1, 480·N]`.

        The first hop lacks the contribution of a preceding frame, and the tail of the last frame is dropped.
        """
        parts = spectra.permute(0, 2, 3, 1).contiguous().float()
        frames = torch.fft.irfft(torch.view_as_complex(parts), n=WINDOW) * WINDOW * self.window
        fresh, tails = frames[..., :HOP_SAMPLES], frames[..., HOP_SAMPLES:]
        hops: Tensor = fresh + F.pad(tails[:, :-1], (0, 0, 1, 0))
        return hops.flatten(1).unsqueeze(1)

    def suppressed(self, noisy: Tensor, hints: Tensor, analysed: Tensor) -> Tensor:
        """The suppressor's spectrum before synthesis `[B, 2, N, 481]`.

        It is computed from `noisy` `[B, 2, N, 481]` of the same frames and the stored `hints` `[B, N, 225]`. Where
        these are NaN, it is `analysed` `[B, 2, N, 481]`, the analysis of the suppressed waveform, which is that
        spectrum blurred by one synthesis.
        """
        gains = hints[..., :ERB_BANDS][..., self.band_of_bin]
        low = hints[..., HINT_VALUES - 2 * FILTERED_BINS :].reshape(*hints.shape[:2], FILTERED_BINS, 2)
        filtered = (gains.unsqueeze(1) * noisy)[..., FILTERED_BINS:]
        made = torch.cat([low.permute(0, 3, 1, 2), filtered], dim=-1)
        return torch.where(torch.isnan(hints[:, None, :, :1]), analysed, made)
