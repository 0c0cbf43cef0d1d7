"""Sixteen bits: what most recordings are stored in, and what rounding to them does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio.levels import FloatArray

Int16Array = NDArray[np.int16]

FULL_SCALE = 32768
"""float32 = int16 / 32768, exactly: what every reader of 16-bit files makes of them."""


def to_pcm(samples: FloatArray) -> Int16Array:
    """Full scale ±1 to 16 bits: round(x · 2¹⁵), limited to the range, no dither.

    libsndfile, given floating-point numbers, takes the next lower step instead: half a step of constant offset.
    """
    rounded: Int16Array = np.clip(np.rint(samples * np.float32(FULL_SCALE)), -32768, 32767).astype(np.int16)
    return rounded


def from_pcm(samples: Int16Array) -> FloatArray:
    """16 bits to full scale ±1, as a reader of the file gets it."""
    return samples.astype(np.float32) / np.float32(FULL_SCALE)


def is_16_bit(samples: FloatArray) -> bool:
    """Whether 16 bits hold every sample, whatever container it came in."""
    return bool((samples == from_pcm(to_pcm(samples))).all())
