"""Triangular filters on the mel scale of Slaney's Auditory Toolbox: linear to 1 kHz, logarithmic above."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LINEAR_HZ_PER_MEL = 200.0 / 3.0
BREAK_HZ = 1_000.0
BREAK_MEL = BREAK_HZ / LINEAR_HZ_PER_MEL
LOG_STEP = np.log(6.4) / 27.0


def mel_of(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mel of frequencies in hertz."""
    above = BREAK_MEL + np.log(np.maximum(frequency_hz, BREAK_HZ) / BREAK_HZ) / LOG_STEP
    return np.where(frequency_hz < BREAK_HZ, frequency_hz / LINEAR_HZ_PER_MEL, above)


def hz_of(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hertz of mels."""
    above = BREAK_HZ * np.exp(LOG_STEP * (np.maximum(mel, BREAK_MEL) - BREAK_MEL))
    return np.where(mel < BREAK_MEL, mel * LINEAR_HZ_PER_MEL, above)


def mel_filters(bands: int, fft_size: int, rate_hz: int, top_hz: float) -> NDArray[np.float64]:
    """Weights `[bands, F]` for power spectra of `fft_size` at `rate_hz`; each triangle has an area of 1 Hz⁻¹·Hz.

    Equal area keeps a flat spectrum flat, so that wide upper bands do not outweigh narrow lower ones.
    """
    edges_hz = hz_of(np.linspace(0.0, mel_of(np.array([top_hz]))[0], bands + 2))
    bins_hz = np.arange(fft_size // 2 + 1) * rate_hz / fft_size
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (high - low))
