"""Signals that stand in for recordings where none may be shipped: a voiced, syllabic 48 kHz sound and noises."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
RATE = 48_000


def voice(seconds: float, seed: int = 0, level: float = 0.1) -> FloatArray:
    """Harmonics of a gliding pitch under moving formants, with pauses and bursts of high noise: `[T]`, RMS `level`.

    The suppressor treats it as speech (it keeps most of its energy), which is what the tests need.
    """
    return _voice(seconds, seed, level).copy()


@lru_cache(maxsize=64)
def _voice(seconds: float, seed: int, level: float) -> FloatArray:
    rng = np.random.default_rng([seed, 7])
    count = int(seconds * RATE)
    t = np.arange(count) / RATE
    pitch = rng.uniform(100, 220) * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * t + rng.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    syllable = np.clip(np.sin(2 * np.pi * 3.1 * t + rng.uniform(0, 6)) + 0.4, 0, 1) ** 0.5
    out = np.zeros(count)
    formants = [(500 + 200 * np.sin(2 * np.pi * 1.3 * t), 120), (1500 + 500 * np.sin(2 * np.pi * 0.9 * t), 200),
                (2600 + 200 * np.sin(2 * np.pi * 0.5 * t), 300)]  # fmt: skip
    for harmonic in range(1, 40):
        f = harmonic * pitch
        gain = sum(width**2 / ((f - centre) ** 2 + width**2) for centre, width in formants) + 0.02
        out += gain / harmonic**0.3 * np.sin(harmonic * phase)
    hiss = np.diff(rng.standard_normal(count + 1))
    out = out * syllable + 0.3 * hiss * np.clip(np.sin(2 * np.pi * 1.55 * t) - 0.8, 0, 1) * 5
    return (out / np.sqrt(np.mean(out**2)) * level).astype(np.float32)


def noise(seconds: float, seed: int = 0, level: float = 0.05) -> FloatArray:
    """Low-pass coloured noise `[T]` at RMS `level`."""
    rng = np.random.default_rng([seed, 11])
    spectrum = np.fft.rfft(rng.standard_normal(int(seconds * RATE)))
    spectrum /= np.sqrt(1 + np.arange(len(spectrum)) / max(1.0, 300 * seconds))
    out = np.fft.irfft(spectrum, int(seconds * RATE))
    return (out / np.sqrt(np.mean(out**2)) * level).astype(np.float32)
