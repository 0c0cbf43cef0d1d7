"""How much of the voice is missing and how much noise remains: two rates over the same cells.

A cell is the power of one ERB band in one 10 ms frame. Let R be the reference's cell and E the output's:

    active           R >= peak of that band over time − 25 dB
    over-suppressed  E <  R − 10 dB      OSR           = over-suppressed active cells / active cells
    residual         E >  R + 10 dB      residual rate = residual active cells       / active cells

Both rates are over the *active* cells. Over all cells the residual rate would mostly count pauses, where the reference
is close to nothing and any output lies 10 dB above it; over the active ones it shows where noise still drowns the
voice, and is comparable with the OSR. OSR alone can be gamed by leaving the noise in: read the two together.

Spectra: Hann 1536, hop 480. Bands: 48 equal steps of the ERB-rate scale 21.4·log10(1 + 0.00437 f) (Glasberg and
Moore 1990) from bin 1 to 20 kHz; bands without a bin are left out, and so are bands in which the reference holds
nothing but the rounding of its resampling. The upper rates use the bands whose centre lies in 8–20 kHz.
Thresholds: this project's own.

A 16-bit reference holds rounding noise everywhere, which counts as active where there is nothing louder. Pass outputs
in the same resolution (`audio.to_pcm`), or they will have "lost" it. `evaluate` does this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, FloatArray
from timbre_restore.audio.cells import ACTIVE_RANGE_DB, CELL_WINDOW, band_layout
from timbre_restore.metrics.base import is_silent
from timbre_restore.metrics.frames import power_blocks
from timbre_restore.metrics.sharing import NotComputableError, once_per_pair

HIGH_HZ = 8_000.0
MARGIN_DB = 10.0
# A reference that came from a lower rate holds only its resampler's rounding above its own Nyquist frequency, 120 dB or
# more below its loudest band; 16-bit dither stays above that and counts. Rounding is not voice that could be lost.
EMPTY_BAND_DB = 110.0

Cells = NDArray[np.float64]


@dataclass(frozen=True)
class CellRates:
    """Fractions in [0, 1] of the active cells, and the number of active cells."""

    oversuppressed: float
    residual: float
    active: int


@once_per_pair
def band_cells(samples: FloatArray) -> Cells:
    """Power `[B, N]` (bands, frames) of `[T]`; a signal shorter than one window counts as one frame."""
    start, stop, _ = band_layout()
    blocks = power_blocks(samples, CELL_WINDOW, HOP_SAMPLES)
    return np.concatenate([np.add.reduceat(power[: stop[-1]], start, axis=0) for power in blocks], axis=1)


def cell_rates(estimate: FloatArray, reference: FloatArray, *, above_hz: float = 0.0) -> CellRates:
    """Both rates of a pair `[T]`, over bands with a centre of at least `above_hz`.

    Raises `NotComputableError` if the reference is silent or has no such band.
    """
    if is_silent(reference):
        raise NotComputableError("the reference is silent")
    return rates_of(band_cells(estimate), band_cells(reference), above_hz=above_hz)


def rates_of(given: Cells, wanted: Cells, *, above_hz: float = 0.0) -> CellRates:
    """Both rates, from the cells of output and reference, `[B, N]` each (see `band_cells`)."""
    _, _, centre_hz = band_layout()
    peak = wanted.max(axis=1)
    chosen = (centre_hz >= above_hz) & (peak > peak.max() * 10.0 ** (-EMPTY_BAND_DB / 10.0))
    if not chosen.any():
        raise NotComputableError(f"the reference holds nothing above {above_hz / 1000:.0f} kHz")
    active = (wanted >= peak[:, None] * 10.0 ** (-ACTIVE_RANGE_DB / 10.0)) & chosen[:, None]
    margin = 10.0 ** (MARGIN_DB / 10.0)
    count = int(active.sum())
    return CellRates(
        oversuppressed=float((active & (given < wanted / margin)).sum() / count),
        residual=float((active & (given > wanted * margin)).sum() / count),
        active=count,
    )


def oversuppression_rate(estimate: FloatArray, reference: FloatArray) -> float:
    """OSR over the whole band: active cells where more than 10 dB of the voice is gone. [0, 1], 0 is best.

    Hears up to 20 kHz, in level only: deaf to phase, to pitch errors within a band, and to any added noise.
    """
    return cell_rates(estimate, reference).oversuppressed


def oversuppression_rate_high(estimate: FloatArray, reference: FloatArray) -> float:
    """OSR over the bands from 8 to 20 kHz. [0, 1], 0 is best. As deaf as the full-band rate, and to all below 8 kHz.

    A reference that was low-passed below 20 kHz still has cells there (its dither or codec noise) unless they are
    mere rounding, so this rate should not be used for a recording without upper octaves.
    """
    return cell_rates(estimate, reference, above_hz=HIGH_HZ).oversuppressed


def residual_rate(estimate: FloatArray, reference: FloatArray) -> float:
    """Residual over the whole band: active cells more than 10 dB above the voice. [0, 1], 0 is best.

    Hears up to 20 kHz. Deaf to noise in pauses (those cells are not active) and to noise up to 10 dB over the voice.
    """
    return cell_rates(estimate, reference).residual


def residual_rate_high(estimate: FloatArray, reference: FloatArray) -> float:
    """Residual over the bands from 8 to 20 kHz. [0, 1], 0 is best. As deaf as the full-band one; also below 8 kHz."""
    return cell_rates(estimate, reference, above_hz=HIGH_HZ).residual
