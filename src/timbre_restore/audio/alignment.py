"""The time offset between two signals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio.stft import fast_length

FloatArray = NDArray[np.float32]

BLOCK_SAMPLES = 1 << 17
"""Correlated at once: the lag is small, and a single transform of hours of audio would fill the memory."""


def lag_samples(signal: FloatArray, reference: FloatArray, *, max_lag: int = 4800) -> int:
    """Integer lag of `signal` behind `reference` (both `[T]`) that maximises their cross-correlation.

    Positive when `signal` is late. Searched within ±`max_lag`; 0 when either signal is silent.
    """
    return lag_and_share(signal, reference, max_lag=max_lag)[0]


def lag_and_share(
    signal: FloatArray, reference: FloatArray, *, max_lag: int = 4800, either_sign: bool = False
) -> tuple[int, float]:
    """The lag, and the share of the reference in the signal there: the best-fitting factor, 0 when either is silent.

    When the share is close to 0, the lag is that of a filter's tail, or mere chance. With `either_sign` the signal may
    also be inverted; the factor is then negative.
    """
    ahead = np.pad(reference, (max_lag, max_lag + max(0, len(signal) - len(reference))))
    correlation = np.zeros(2 * max_lag + 1)
    for at in range(0, len(signal), BLOCK_SAMPLES):
        part = signal[at : at + BLOCK_SAMPLES]
        around = ahead[at : at + len(part) + 2 * max_lag]
        size = fast_length(len(around))
        spectrum = np.fft.rfft(around, size) * np.conj(np.fft.rfft(part, size))
        correlation += np.fft.irfft(spectrum, size)[: 2 * max_lag + 1]
    if not np.any(correlation):
        return 0, 0.0
    place = int(np.argmax(np.abs(correlation) if either_sign else correlation))
    return max_lag - place, float(correlation[place] / np.sum(reference.astype(np.float64) ** 2))
