"""Where one signal lies in time against another. It verifies an alignment; it never decides one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def lag_samples(signal: FloatArray, reference: FloatArray, *, max_lag: int = 4800) -> int:
    """Integer lag of `signal` behind `reference` (both `[T]`) that maximises their cross-correlation.

    Positive: `signal` is late. Searched within ±`max_lag`; 0 when either is silent.
    """
    length = max(len(signal), len(reference))
    size = 1 << int(np.ceil(np.log2(length + max_lag + 1)))
    spectrum = np.fft.rfft(signal, size) * np.conj(np.fft.rfft(reference, size))
    correlation = np.fft.irfft(spectrum, size)
    if not np.any(correlation):
        return 0
    window = np.concatenate([correlation[-max_lag:], correlation[: max_lag + 1]])
    return int(np.argmax(window)) - max_lag
