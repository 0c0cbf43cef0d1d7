"""Power spectra in blocks: ten minutes at 48 kHz as one array of frames would take gigabytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import FloatArray, active_rms, stft, to_db

BLOCK_FRAMES = 1024
PAUSE_DB = 40.0
"""A piece this far below its item's speech counts as a pause."""

Powers = NDArray[np.float64]


def power_blocks(samples: FloatArray, window: int, hop: int) -> Iterator[Powers]:
    """Power `[F, N]` of consecutive blocks of Hann frames; together the frames of `stft`, whatever the length."""
    count = 1 + max(0, len(samples) - window) // hop
    for first in range(0, count, BLOCK_FRAMES):
        last = min(first + BLOCK_FRAMES, count) - 1
        spectrum = stft(samples[first * hop : last * hop + window], window, hop)
        yield spectrum.real**2 + spectrum.imag**2


def framed(samples: NDArray[np.float64], window: int, hop: int, count: int) -> Iterator[NDArray[np.float64]]:
    """Blocks `[N, window]` of the first `count` frames of `[T]`, as views."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop][:count]
    for first in range(0, count, BLOCK_FRAMES):
        yield frames[first : first + BLOCK_FRAMES]


def equal_pieces(samples: FloatArray, longest: int) -> list[FloatArray]:
    """`[T]` split into the fewest pieces of nearly equal length with at most `longest` samples each."""
    return np.array_split(samples, max(1, -(-len(samples) // longest)))


def spoken_pieces(reference: FloatArray, estimate: FloatArray, longest: int) -> list[tuple[FloatArray, FloatArray]]:
    """Equal pieces of both `[T]`, without those in which the reference pauses, since there is nothing to rate there."""
    pieces = zip(equal_pieces(reference, longest), equal_pieces(estimate, longest), strict=True)
    speech_db = to_db(active_rms(reference)) - PAUSE_DB
    return [piece for piece in pieces if to_db(active_rms(piece[0])) > speech_db]
