"""Short-time spectra in numpy: `[T]` to complex `[F, N]` (bins, frames)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def hann(size: int) -> NDArray[np.float64]:
    """The periodic Hann window: 0.5 − 0.5·cos(2πn / size)."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)


def stft(samples: NDArray[np.floating], size: int, hop: int) -> NDArray[np.complex128]:
    """Hann-windowed spectra `[F, N]` of `[T]`, F = size / 2 + 1, without padding: N = 1 + (T − size) // hop.

    A signal shorter than one window is extended with zeros to one window.
    """
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(samples, dtype=np.float64), size)[::hop]
    return np.fft.rfft(frames * hann(size), axis=-1).T


def fast_length(samples: int) -> int:
    """The smallest length >= `samples` whose only prime factors are 2, 3 and 5, for which transforms are fast."""
    best = 1 << max(0, samples - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            rest = -(-samples // three)
            best = min(best, three << max(0, rest - 1).bit_length())
            three *= 3
        five *= 5
    return best


def bandwidth_hz(samples: FloatArray, rate_hz: int, *, range_db: float = 80.0) -> int:
    """The highest frequency within `range_db` of the mean spectrum's peak: shows where the content of an upsampled file
    ends."""
    size = 2048
    power = np.mean(np.abs(stft(samples, size, size)) ** 2, axis=1)
    audible = np.flatnonzero(power >= power.max() * 10.0 ** (-range_db / 10.0))
    return int(audible[-1] * rate_hz / size)
