"""Conversion to and from 16-bit samples, the format of most recordings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio.levels import FloatArray

Int16Array = NDArray[np.int16]

FULL_SCALE = 32768
"""float32 = int16 / 32768 exactly, as every reader of 16-bit files does."""


def to_pcm(samples: FloatArray) -> Int16Array:
    """Full scale ±1 to 16 bits: round(x · 2¹⁵), clipped to the range, no dither.

    Given floats, libsndfile rounds down instead, which adds a constant offset of half a step.
    """
    rounded: Int16Array = np.clip(np.rint(samples * np.float32(FULL_SCALE)), -32768, 32767).astype(np.int16)
    return rounded


def from_pcm(samples: Int16Array) -> FloatArray:
    """16 bits to full scale ±1, as a reader of the file would return it."""
    return samples.astype(np.float32) / np.float32(FULL_SCALE)


def is_16_bit(samples: FloatArray) -> bool:
    """Whether every sample can be represented in 16 bits, whatever format it came from."""
    return bool((samples == from_pcm(to_pcm(samples))).all())
