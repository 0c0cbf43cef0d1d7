"""Rooms: responses, measured or made, cut at their direct path, and speech in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import fast_length, read_info, read_mono
from timbre_restore.corpus.rendering.made_room import is_made_room, make_room
from timbre_restore.corpus.rendering.rejects import Rejects, reason_without
from timbre_restore.errors import AudioFileError

FloatArray = NDArray[np.float32]

EARLY_SAMPLES = 2400  # 50 ms of a room stay in the target
LOWEST_RATE_HZ = 32_000  # of speech, and of the rooms that it is put into


def first_room(names: Sequence[str], root: Path | None, rejects: Rejects) -> tuple[str, FloatArray | None]:
    """Name and response `[R]` of the first candidate that can be used; without one, no room."""
    for name in names:
        if is_made_room(name):
            return name, direct_path_first(make_room(name))
        path = (root or Path()) / name
        try:
            return name, _load_room(path)
        except AudioFileError as exc:
            rejects.append(("room", name, reason_without(path, exc)))
    return "", None


def in_room(speech: FloatArray, response: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Speech in the whole room, and in its first 50 ms; both `[T]`, both starting with the direct sound."""
    return convolve(speech, response), convolve(speech, response[:EARLY_SAMPLES])


def direct_path_first(response: FloatArray) -> FloatArray:
    """A room response `[R]` cut at its largest peak, which becomes 1 and positive."""
    peak = int(np.argmax(np.abs(response)))
    return np.asarray(response[peak:] / response[peak], dtype=np.float32)


def convolve(signal: FloatArray, response: FloatArray) -> FloatArray:
    """The first `len(signal)` samples of the convolution, in single precision, which is that of the signals.

    In one transform where the response is long against the signal, else by overlapping blocks of eight responses.
    """
    length, taps = len(signal), len(response)
    size = fast_length(length + taps - 1 if 8 * taps > length else 8 * taps)
    block = size - taps + 1
    spectrum = np.fft.rfft(response, size)
    out = np.zeros(length + size, np.float32)
    for start in range(0, length, block):
        part = np.fft.rfft(signal[start : start + block], size)
        out[start : start + size] += np.fft.irfft(part * spectrum, size)
    return out[:length]


@lru_cache(maxsize=64)
def _load_room(path: Path) -> FloatArray:
    rate_hz = read_info(path).sample_rate_hz
    if rate_hz < LOWEST_RATE_HZ:
        raise AudioFileError(f"sampled at {rate_hz} Hz, so that the target would be dull; expected {LOWEST_RATE_HZ} Hz")
    response = read_mono(path)
    if not np.any(response):
        raise AudioFileError("silent")
    return direct_path_first(response)
