"""Level error of the cells of the voice: a differentiable version of what OSR and residual count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from timbre_restore.audio import HOP_SAMPLES
from timbre_restore.audio.cells import ACTIVE_RANGE_DB, CELL_WINDOW, band_layout
from timbre_restore.losses.waveform import Waveform, waveform_of

FLOOR_DBFS = -85.0
"""Level of white noise that serves as the floor, where a voice is normalised to -20 dBFS: the rounding of 16 bits is
below it for a voice that was above -36 dBFS."""
NO_VOICE_RMS = 0.02
"""RMS of an item or window, where a voice is normalised to 0.1: lower ones could not be normalised, or are pauses."""
TOLERANCE_DB = 5.0
"""Level errors up to this are not counted."""
UNIT_DB = 10.0
"""Level error beyond the tolerance that gives a loss of 1."""
FEWEST = 200
"""An item with fewer active cells (200 are 40 ms of a sound in all bands) has less weight than others."""


class Cells(nn.Module):
    """mean over active cells of relu(|10·log10((E + f) / (R + f))| − 5) / 10

    R and E are the powers of the cells of reference and estimate, f is the power of the floor. As in `metrics.cells`,
    a cell is active if R is above the peak of its band − 25 dB, and above f. The peak is taken over the item, or over
    the current window of a long segment; a nearly silent one (`NO_VOICE_RMS`) has no active cells, because its peak is
    not that of a voice. Every active cell counts the same, at 12 kHz as at 500 Hz, while losses on magnitudes, even
    compressed ones, are dominated by the loud octaves. Pauses are left to the other losses. This loss is this
    project's own.
    """

    window: Tensor
    bands: Tensor
    floor: Tensor

    def __init__(self) -> None:
        super().__init__()
        starts, stops, _ = band_layout()
        bins = torch.arange(int(stops[-1]))
        bands = (bins >= torch.from_numpy(starts)[:, None]) & (bins < torch.from_numpy(stops)[:, None])
        self.register_buffer("window", torch.hann_window(CELL_WINDOW), persistent=False)
        self.register_buffer("bands", bands.float(), persistent=False)
        # A bin of white noise with RMS a has |X|² = a² · Σ w², and Σ w² is 3/8 of the window length.
        floor = 10.0 ** (FLOOR_DBFS / 10.0) * 0.375 * CELL_WINDOW * self.bands.sum(dim=1, keepdim=True)
        self.register_buffer("floor", floor, persistent=False)

    def forward(self, estimate: Tensor | Waveform, reference: Tensor | Waveform) -> Tensor:
        """Waveforms `[B, 1, T]` to one value per item `[B]`."""
        ours, theirs = (self._power(waveform_of(x)) for x in (estimate, reference))
        voiced = waveform_of(reference).wave.square().mean(dim=(1, 2)) >= NO_VOICE_RMS**2
        peak = theirs.amax(dim=2, keepdim=True)
        active = (theirs >= peak * 10.0 ** (-ACTIVE_RANGE_DB / 10.0)) & (theirs > self.floor) & voiced[:, None, None]
        off = 10.0 * torch.log10((ours + self.floor) / (theirs + self.floor))
        far = (off.abs() - TOLERANCE_DB).clamp_min(0.0) / UNIT_DB
        mean: Tensor = (far * active).sum(dim=(1, 2)) / active.sum(dim=(1, 2)).clamp_min(FEWEST)
        return mean

    def _power(self, sound: Waveform) -> Tensor:
        """Power of each cell `[B, bands, N]`."""
        spectrum = sound.spectrum(self.window, HOP_SAMPLES)[:, : self.bands.shape[1]]
        return self.bands @ (spectrum.real.square() + spectrum.imag.square())
