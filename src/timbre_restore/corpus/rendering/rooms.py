"""Room responses, measured or synthetic, cut at their direct path, and their convolution with speech."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, fast_length, read_channel, resample
from timbre_restore.corpus.rendering.made_room import is_made_room, make_room
from timbre_restore.corpus.rendering.rejects import Rejects, reason_without
from timbre_restore.errors import AudioFileError

EARLY_SAMPLES = 2400  # the target keeps 50 ms of the room
LOWEST_RATE_HZ = 32_000  # of speech; a room sampled at a lower rate lacks octaves that the voice has
_LOBES = 64  # samples at the room's rate, on both sides of an impulse that is resampled


def first_room(names: Sequence[str], root: Path | None, rejects: Rejects) -> tuple[str, FloatArray | None]:
    """Name and response `[R]` of the first usable candidate; ('', None) if there is none."""
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
    """Speech in the full room response, and in its first 50 ms; both `[T]`, both starting with the direct sound."""
    return convolve(speech, response), convolve(speech, response[:EARLY_SAMPLES])


def direct_path_first(response: FloatArray) -> FloatArray:
    """A room response `[R]` cut at its largest peak and scaled so that this peak is 1."""
    peak = int(np.argmax(np.abs(response)))
    return np.asarray(response[peak:] / response[peak], dtype=np.float32)


def with_whole_direct_path(response: FloatArray, rate_hz: int) -> FloatArray:
    """Replace the band-limited direct path of a response `[R]`, sampled at the low rate `rate_hz`, by a full-band one.

    The response is cut at its direct path. Reflections stay band-limited, but the direct voice keeps its whole band.
    """
    unit = np.zeros(2 * _LOBES + 1, np.float32)
    unit[_LOBES] = 1.0
    lobe = direct_path_first(resample(unit, rate_hz, SAMPLE_RATE_HZ))[: len(response)]
    whole = response.copy()
    whole[: len(lobe)] -= lobe
    whole *= np.float32(rate_hz / SAMPLE_RATE_HZ)  # equal peaks are that much louder in the band of a lower rate
    whole[0] = 1.0
    return whole


def convolve(signal: FloatArray, response: FloatArray) -> FloatArray:
    """The first `len(signal)` samples of the convolution, in single precision, like the signals.

    Uses one transform when the response is long relative to the signal, else overlap-add in blocks of eight responses.
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
    own, rate_hz = read_channel(path)
    if not np.any(own):
        raise AudioFileError("silent")
    response = direct_path_first(resample(own, rate_hz, SAMPLE_RATE_HZ))
    return response if rate_hz >= LOWEST_RATE_HZ else with_whole_direct_path(response, rate_hz)
