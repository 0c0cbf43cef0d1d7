"""Synthetic noise: coloured, modulated, tonal, impulsive and musical. Each is defined by its name, `made:KIND:SEED`.

How well a restorer handles unseen noises depends on how many kinds it was trained on; a folder of recordings has few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, fast_length

Array = NDArray[np.float64]

MADE_KINDS = ("coloured", "modulated", "tonal", "impulsive", "musical")
_PREFIX = "made:"


def made_name(kind: str, seed: int) -> str:
    """The name of a synthetic noise."""
    return f"{_PREFIX}{kind}:{seed}"


def is_made(name: str) -> bool:
    """Whether a noise's name is that of a synthetic one; file names end with a suffix, which no kind does."""
    return name.startswith(_PREFIX) and name.split(":")[1] in MADE_KINDS


def make_noise(name: str, samples: int) -> FloatArray:
    """The noise `[samples]` at 48 kHz and RMS 0.1; a pure function of name and length."""
    _, kind, seed = name.split(":")
    rng = np.random.default_rng([int(seed), 31])
    made = _MAKERS[kind](rng, samples)
    return np.asarray(0.1 * made / np.sqrt(np.mean(made**2) + 1e-20), dtype=np.float32)


def coloured(rng: np.random.Generator, samples: int, slope: float) -> Array:
    """Noise of RMS 1, amplitude proportional to frequency to the power of `slope` (white 0, pink -0.5, brown -1)."""
    size = fast_length(samples)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum *= np.maximum(np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ), 40.0) ** slope
    out = np.fft.irfft(spectrum, size)
    return np.asarray(out[:samples] / np.sqrt(np.mean(out**2)))


def wandering(rng: np.random.Generator, samples: int, seconds: float) -> Array:
    """A gain between 0.1 and 1 that changes about every `seconds`."""
    steps = np.arange(samples) / SAMPLE_RATE_HZ / seconds
    marks = rng.uniform(0.1, 1.0, int(samples / SAMPLE_RATE_HZ / seconds) + 2)
    return np.interp(steps, np.arange(len(marks)), marks)


def hum(rng: np.random.Generator, samples: int, pitch_hz: float, wobble: float) -> Array:
    """A tone and its overtones with random weights and phases; the pitch varies slowly by the fraction `wobble`."""
    t = np.arange(samples) / SAMPLE_RATE_HZ
    moving = pitch_hz * (1.0 + wobble * np.sin(2 * np.pi * rng.uniform(0.1, 2.0) * t + rng.uniform(0, 6.28)))
    turns = np.cumsum(moving) / SAMPLE_RATE_HZ % 1.0
    overtones = int(min(16, 0.4 * SAMPLE_RATE_HZ / (pitch_hz * (1.0 + wobble))))
    weights = rng.uniform(0.1, 1.0, overtones) / np.arange(1, overtones + 1)
    phase = (2 * np.pi * turns).astype(np.float32)  # a sine in single precision costs a fifth
    tones = (np.float32(w) * np.sin(k * phase + np.float32(rng.uniform(0, 6.28))) for k, w in enumerate(weights, 1))
    return np.asarray(sum(tones), dtype=np.float64)


def clicks(rng: np.random.Generator, samples: int, per_s: float, decay_s: float) -> Array:
    """Short decaying bursts at random times, RMS 1."""
    length = min(int(8 * decay_s * SAMPLE_RATE_HZ), samples)
    out = np.zeros(samples + length)
    decay = np.exp(-np.arange(length) / (decay_s * SAMPLE_RATE_HZ))
    for start in rng.integers(0, samples, max(1, int(per_s * samples / SAMPLE_RATE_HZ))):
        out[start : start + length] += rng.uniform(0.3, 1.0) * decay * rng.standard_normal(length)
    return np.asarray(out[:samples] / np.sqrt(np.mean(out[:samples] ** 2) + 1e-20))


def _coloured(rng: np.random.Generator, samples: int) -> Array:
    return coloured(rng, samples, rng.uniform(-1.5, 0.4))


def _modulated(rng: np.random.Generator, samples: int) -> Array:
    """Coloured noise of varying level, slow like wind or fast like an engine."""
    slope, seconds = rng.uniform(-1.2, 0.2), float(np.exp(rng.uniform(np.log(0.05), np.log(2.0))))
    return coloured(rng, samples, slope) * wandering(rng, samples, seconds) ** rng.uniform(1.0, 3.0)


def _tonal(rng: np.random.Generator, samples: int) -> Array:
    """Machine-like: hum over some coloured noise."""
    pitch, wobble = float(np.exp(rng.uniform(np.log(40.0), np.log(3000.0)))), rng.uniform(0.0, 0.03)
    tone = hum(rng, samples, pitch, wobble)
    tone /= np.sqrt(np.mean(tone**2) + 1e-20)
    return tone + rng.uniform(0.1, 1.0) * coloured(rng, samples, rng.uniform(-1.2, 0.0))


def _impulsive(rng: np.random.Generator, samples: int) -> Array:
    """Keystrokes, drops, crackle: bursts over soft noise."""
    rate, decay = (float(np.exp(rng.uniform(np.log(low), np.log(high)))) for low, high in ((2, 80), (0.001, 0.05)))
    return clicks(rng, samples, rate, decay) + rng.uniform(0.02, 0.2) * coloured(rng, samples, -0.5)


def _musical(rng: np.random.Generator, samples: int) -> Array:
    """Several instruments with notes of different lengths: harmonic like a voice, but not to be restored."""
    out = np.zeros(samples)
    for _ in range(int(rng.integers(1, 5))):
        seconds, fade_s = (float(np.exp(rng.uniform(np.log(low), np.log(high)))) for low, high in ((0.2, 4), (0.1, 5)))
        start, octave, weight = 0, int(rng.integers(0, 4)), rng.uniform(0.2, 1.0)
        while start < samples:
            length = min(max(int(rng.uniform(0.5, 1.0) * seconds * SAMPLE_RATE_HZ), 480), samples - start)
            pitch = 55.0 * 2.0 ** (octave + rng.integers(0, 12) / 12.0)
            note = hum(rng, length, pitch, rng.uniform(0.0, 0.01)) * np.exp(
                -np.arange(length) / (fade_s * SAMPLE_RATE_HZ)
            )
            ramp = min(480, length // 2)
            note[:ramp] *= np.linspace(0.0, 1.0, ramp)
            note[length - ramp :] *= np.linspace(1.0, 0.0, ramp)
            out[start : start + length] += weight * note
            start += length
    return out


_MAKERS = dict(zip(MADE_KINDS, (_coloured, _modulated, _tonal, _impulsive, _musical), strict=True))
