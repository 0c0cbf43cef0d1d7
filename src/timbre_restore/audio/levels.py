"""Levels: RMS, active speech level, decibels. Full scale is 1.0, so a full-scale square wave is 0 dBFS."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

FLOOR_DB = -200.0
LARGEST_SAMPLE = 2.0**16
"""96 dB over full scale: beyond any real sound. A damaged float file may hold 1e30, whose square no running level
survives."""
INVALID_SAMPLES = f"samples that are NaN, infinite or beyond ±{LARGEST_SAMPLE:.0f}"


def is_valid(samples: FloatArray) -> NDArray[np.bool_]:
    """Which samples (of any shape) are valid: not NaN, not infinite, within ±`LARGEST_SAMPLE`."""
    found: NDArray[np.bool_] = np.abs(samples) <= LARGEST_SAMPLE
    return found


def replace_invalid(samples: FloatArray) -> tuple[FloatArray, int]:
    """The samples with invalid ones set to zero, and how many there were; copies only if there are any."""
    sound = is_valid(samples)
    if sound.all():
        return samples, 0
    return np.where(sound, samples, np.float32(0.0)), int(np.count_nonzero(~sound))


def rms(samples: FloatArray) -> float:
    """Root mean square of `[T]`, in full-scale units; summed in double precision."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if samples.size else 0.0


def to_db(amplitude: float) -> float:
    """20·log10 of an amplitude, with a floor of −200 dB so that silence stays finite."""
    return 20.0 * float(np.log10(amplitude)) if amplitude > 1e-10 else FLOOR_DB


def from_db(level_db: float) -> float:
    """The amplitude for a level in dB."""
    return float(10.0 ** (level_db / 20.0))


def active_rms(samples: FloatArray, *, frame_samples: int = 480, range_db: float = 40.0) -> float:
    """RMS over the frames within `range_db` of the loudest frame: the level of the speech, not of its pauses.

    A simple stand-in for ITU-T P.56's active level; 0.0 for silence. `samples` is `[T]`.
    """
    count = len(samples) // frame_samples
    if count == 0:
        return rms(samples)
    frames = samples[: count * frame_samples].reshape(count, frame_samples).astype(np.float64)
    power = np.mean(frames**2, axis=1)
    loudest = power.max()
    if loudest <= 0.0:
        return 0.0
    return float(np.sqrt(power[power >= loudest * 10.0 ** (-range_db / 10.0)].mean()))
