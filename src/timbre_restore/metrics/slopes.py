"""Weighted spectral slope distance: how differently two spectra rise and fall from band to band.

Klatt 1982, 'Prediction of perceived phonetic distance from critical-band spectra', as implemented by Hu and Loizou
2008: 25 critical bands with Gaussian filters up to 3.6 kHz, weighted by closeness to the loudest band (Kmax = 20) and
to the nearest local peak (Klocmax = 1). For a rising slope their code takes the band *below* the peak; this one does
too, so that values are comparable.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

NYQUIST_HZ = 8_000.0
FFT_SIZE = 1024
FLOOR_DB = -100.0
K_MAX = 20.0
K_LOCAL = 1.0
CENTRES_HZ = (
    50.0, 120.0, 190.0, 260.0, 330.0, 400.0, 470.0, 540.0, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30,
    1288.72, 1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63,
)  # fmt: skip
WIDTHS_HZ = (
    70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423,
    153.823, 168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136,
)  # fmt: skip

Array = NDArray[np.float64]


@functools.cache
def critical_filters() -> Array:
    """Weights `[25, 512]` for power spectra: Gaussians on whole bins, nothing below −30 dB of the first one's peak."""
    half = FFT_SIZE // 2
    centre = np.floor(np.array(CENTRES_HZ)[:, None] / NYQUIST_HZ * half)
    width = np.array(WIDTHS_HZ)[:, None] / NYQUIST_HZ * half
    weights = np.exp(-11.0 * ((np.arange(half) - centre) / width) ** 2) * (width[0] / width)
    return np.asarray(weights * (weights > np.exp(-30.0 / (2.0 * 2.303))))


def spectral_slope_distances(given: Array, wanted: Array) -> Array:
    """WSS per frame, `[N]`, of windowed frames `[N, 480]` at 16 kHz: 0 is best, speech in noise lies at 30 to 100."""
    (slope_g, weight_g), (slope_w, weight_w) = (_slopes(_levels_db(x)) for x in (given, wanted))
    weight = (weight_g + weight_w) / 2.0
    return np.asarray(np.sum(weight * (slope_w - slope_g) ** 2, axis=1) / weight.sum(axis=1))


def _levels_db(frames: Array) -> Array:
    power = np.abs(np.fft.rfft(frames, FFT_SIZE)[:, :-1]) ** 2
    return np.maximum(10.0 * np.log10(np.maximum(power @ critical_filters().T, 1e-30)), FLOOR_DB)


def _slopes(level_db: Array) -> tuple[Array, Array]:
    """Slopes between neighbouring bands and their weights, `[N, 24]` each."""
    slope, level = np.diff(level_db, axis=1), level_db[:, :-1]
    peak = np.array(level)
    rising = slope > 0.0
    for band in range(slope.shape[1] - 2, -1, -1):  # up to where the rise ends
        peak[:, band] = np.where(rising[:, band] & rising[:, band + 1], peak[:, band + 1], peak[:, band])
    for band in range(1, slope.shape[1]):  # down to where the fall began
        both = ~rising[:, band] & ~rising[:, band - 1]
        peak[:, band] = np.where(both, peak[:, band - 1], peak[:, band])
    loudest = level_db.max(axis=1, keepdims=True)
    return slope, K_MAX / (K_MAX + loudest - level) * K_LOCAL / (K_LOCAL + peak - level)
