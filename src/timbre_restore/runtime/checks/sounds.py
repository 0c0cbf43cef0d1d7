"""Synthetic sounds that exercise a model over its whole range; the same in every run."""

from __future__ import annotations

import numpy as np

from timbre_restore.audio import HOP_SAMPLES, LARGEST_SAMPLE, SAMPLE_RATE_HZ, FloatArray

DENORMAL = 1e-40
LEFT = np.float32(0.3)
"""What is left of a sound in checks that imitate a suppressor instead of running one."""
SOUNDS = ("noise", "silence", "clipping", "denormals", "dc", "spikes")


def voiced(seconds: float, seed: int = 0) -> FloatArray:
    """Gliding, swelling harmonics in noise `[T]`, T whole hops; never silent, or a suppressor would skip it."""
    rng = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE_HZ) // HOP_SAMPLES * HOP_SAMPLES
    at = np.arange(count) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * np.cumsum(140.0 + 30.0 * np.sin(2 * np.pi * 0.7 * at)) / SAMPLE_RATE_HZ
    swell = np.abs(np.sin(2 * np.pi * 1.7 * at)) ** 2
    voice = swell * sum(np.sin(k * phase) / k for k in range(1, 40))
    return (0.08 * voice + 0.02 * rng.standard_normal(count)).astype(np.float32)


def stretch_of(sound: str, hops: int, rng: np.random.Generator) -> FloatArray:
    """The next hops `[N, 480]` of an endless sound."""
    shape = (hops, HOP_SAMPLES)
    if sound == "silence":
        return np.zeros(shape, np.float32)
    if sound == "dc":
        return np.full(shape, 0.5, np.float32)
    noise: FloatArray = rng.standard_normal(shape, dtype=np.float32)
    if sound == "noise":
        return np.float32(0.1) * noise
    if sound == "spikes":
        noise *= np.float32(0.1)
        noise[0, 0] = LARGEST_SAMPLE
        return noise
    if sound == "clipping":
        noise = np.clip(np.float32(20.0) * noise, -1.0, 1.0)
    else:
        noise = np.copysign(np.float32(DENORMAL), noise)
    return noise
