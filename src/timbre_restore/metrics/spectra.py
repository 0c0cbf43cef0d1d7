"""Spectral metrics of a pair: log-spectral distance, level per band, mel-cepstral distortion.

All are computed from the same frames in one pass: Hann 2048, hop 512, at 48 kHz. A frame is *active* if the reference's
energy in it is within 40 dB of its loudest frame. Five bands of 4 kHz from 0 to 20 kHz show where a loss lies. A band
in which the reference holds nothing but the rounding of its resampling has no values: there is no voice to lose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray
from timbre_restore.audio.cells import ACTIVE_RANGE_DB
from timbre_restore.metrics.base import is_silent
from timbre_restore.metrics.cells import EMPTY_BAND_DB
from timbre_restore.metrics.frames import power_blocks
from timbre_restore.metrics.mel import mel_filters
from timbre_restore.metrics.sharing import NotComputableError, once_per_pair

WINDOW_SAMPLES = 2048
HOP_SAMPLES = 512
FLOOR_DB = 80.0
FRAME_RANGE_DB = 40.0
BANDS_KHZ = ((0, 4), (4, 8), (8, 12), (12, 16), (16, 20))
MEL_BANDS = 80
MEL_TOP_HZ = 20_000.0
CEPSTRA = 13

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SpectralPair:
    """The result of one pass over a pair, with N active of M frames and five bands.

    `squares_db` `[N]` and `band_squares_db` `[5, N]`: mean square of the log ratio over all bins and over a band's.
    `wanted`, `given` `[5, M]`: band powers of reference and output. `cepstral` `[N]`: distance of the mel cepstra.
    """

    squares_db: Array
    band_squares_db: Array
    wanted: Array
    given: Array
    cepstral: Array


def band_bins(band: int) -> slice:
    """The bins of band 0 to 4, including the upper edge, and the lower one only if it is 0 Hz."""
    return slice(*(khz * 1000 * WINDOW_SAMPLES // SAMPLE_RATE_HZ + (khz > 0) for khz in BANDS_KHZ[band]))


@once_per_pair
def spectral_pair(estimate: FloatArray, reference: FloatArray) -> SpectralPair:
    """One pass over both spectra of a pair `[T]`. Raises `NotComputableError` for a silent reference."""
    if is_silent(reference):
        raise NotComputableError("the reference is silent")
    peak, energy = _peak_and_energy(reference)
    if peak <= 0.0:
        raise NotComputableError("the reference is too short")
    floor = peak * 10.0 ** (-FLOOR_DB / 10.0)
    active = energy >= energy.max() * 10.0 ** (-FRAME_RANGE_DB / 10.0)
    parts, at = [], 0
    both = zip(*(power_blocks(x, WINDOW_SAMPLES, HOP_SAMPLES) for x in (estimate, reference)), strict=True)
    for given, wanted in both:
        parts.append(_compare(given, wanted, floor, active[at : at + wanted.shape[1]]))
        at += wanted.shape[1]
    return SpectralPair(*(np.concatenate(column, axis=-1) for column in zip(*parts, strict=True)))


def _peak_and_energy(reference: FloatArray) -> tuple[float, Array]:
    peaks, energies = [], []
    for power in power_blocks(reference, WINDOW_SAMPLES, HOP_SAMPLES):
        peaks.append(power.max())
        energies.append(power.sum(axis=0))
    return float(max(peaks)), np.concatenate(energies)


def _compare(given: Array, wanted: Array, floor: float, active: NDArray[np.bool_]) -> tuple[Array, ...]:
    """The fields of `SpectralPair` for one block `[F, M]`."""
    bins = [band_bins(band) for band in range(len(BANDS_KHZ))]
    powers = [np.stack([power[b].sum(axis=0) for b in bins]) for power in (wanted, given)]
    given, wanted = given[:, active], wanted[:, active]
    ratio_db = 10.0 * np.log10(np.maximum(given, floor) / np.maximum(wanted, floor))
    squares = ratio_db**2
    band_squares = np.stack([squares[b].mean(axis=0) for b in bins])
    return squares.mean(axis=0), band_squares, *powers, cepstral_distance(given, wanted, floor)


def cepstral_distance(given: Array, wanted: Array, floor: float) -> Array:
    """Distance of the mel cepstra c1…c13 per frame, in dB, of power spectra `[F, N]`; see `mel_cepstral_distortion`."""
    filters = mel_filters(MEL_BANDS, WINDOW_SAMPLES, SAMPLE_RATE_HZ, MEL_TOP_HZ)
    widths = filters.sum(axis=1, keepdims=True)  # a mean over the filter's bins keeps the floor's meaning
    ratio = np.log(np.maximum(filters @ given / widths, floor)) - np.log(np.maximum(filters @ wanted / widths, floor))
    order, band = np.arange(1, CEPSTRA + 1)[:, None], np.arange(MEL_BANDS)
    cosines = np.cos(np.pi * order * (band + 0.5) / MEL_BANDS) / MEL_BANDS  # 2 / B, and half for ln power → ln |X|
    return np.asarray(10.0 / np.log(10.0) * np.sqrt(2.0 * np.sum((cosines @ ratio) ** 2, axis=0)))


def log_spectral_distance(estimate: FloatArray, reference: FloatArray) -> float:
    """LSD in dB over the active frames; 0 is best, 80 if all is lost, more if it is too loud. `[T]` at 48 kHz.

        LSD = mean over active frames n of sqrt( mean over bins f of (L_E[f, n] − L_R[f, n])² )
        L_X = 10·log10 max(|X|², floor),  floor = peak of |R|² over all cells − 80 dB

    Gray and Markel 1976, 'Distance measures for speech processing' (RMS log spectral measure); floor and activity
    are this project's, so values are comparable only within it. Hears the whole band, all bins equally: half of them
    lie above 12 kHz, so a voice that ends at 8 kHz is mostly judged on its floor. Deaf to phase, to pauses, and to
    whether it was too much or too little.
    """
    return float(np.sqrt(spectral_pair(estimate, reference).squares_db).mean())


def band_spectral_distance(estimate: FloatArray, reference: FloatArray, *, band: int) -> float:
    """LSD of one band of 4 kHz in dB, 0 is best. `[T]` at 48 kHz, `band` 0 to 4.

    `log_spectral_distance` with the mean over the band's bins only; floor and active frames stay those of the full
    band, so a quiet band has less range. As deaf as the full-band value, and to everything outside its band.
    """
    pair = _with_band(estimate, reference, band)
    return float(np.sqrt(pair.band_squares_db[band]).mean())


def band_gain(estimate: FloatArray, reference: FloatArray, *, band: int, percentile: float = 50.0) -> float:
    """Level of the output against the reference in one band of 4 kHz, signed dB; 0 is best, −80 to 80. `[T]`, 48 kHz.

        g[n] = 10·log10( sum over the band of |E[f, n]|² / sum over the band of |R[f, n]|² )

    The value is the median (or another percentile) of g over the frames where the reference's power in the band is
    within 25 dB of its peak there. This project's own. The median shows what is always removed and misses what is
    removed only at times, such as sibilants; the 10th percentile shows that. Deaf to phase and to detail within a band;
    lost voice and remaining noise can add up to 0, so read it beside over-suppression and residual noise.
    """
    pair = _with_band(estimate, reference, band)
    wanted, given = pair.wanted[band], pair.given[band]
    loud = wanted >= wanted.max() * 10.0 ** (-ACTIVE_RANGE_DB / 10.0)
    ratio = np.clip(given[loud] / wanted[loud], 10.0 ** (-FLOOR_DB / 10.0), 10.0 ** (FLOOR_DB / 10.0))
    return float(np.percentile(10.0 * np.log10(ratio), percentile))


def _with_band(estimate: FloatArray, reference: FloatArray, band: int) -> SpectralPair:
    pair = spectral_pair(estimate, reference)
    peaks = pair.wanted.max(axis=1)
    if peaks[band] <= peaks.max() * 10.0 ** (-EMPTY_BAND_DB / 10.0):
        low, high = BANDS_KHZ[band]
        raise NotComputableError(f"the reference holds nothing from {low} to {high} kHz")
    return pair


def mel_cepstral_distortion(estimate: FloatArray, reference: FloatArray) -> float:
    """MCD in dB over the active frames, 0 is best, no upper end (10 is far). `[T]` at 48 kHz.

        MCD = mean over active frames of 10 / ln 10 · sqrt( 2 · sum over d = 1…13 of (c_E[d] − c_R[d])² )
        c_X[d] = 2 / B · sum over mel bands b of ln A_X[b] · cos(π·d·(b + ½) / B),  B = 80 up to 20 kHz

    with A the root of a band's mean power, floored as in the LSD. Kubichek 1993, 'Mel-cepstral distance measure for
    objective speech quality assessment'; frames are compared one to one, without time warping. Bands, floor and frames
    differ between publications, so values are comparable only within this project. Deaf to level (d starts at 1), to
    phase, and to fine structure such as single harmonics.
    """
    return float(spectral_pair(estimate, reference).cepstral.mean())
