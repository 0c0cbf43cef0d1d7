"""Synthetic rooms: a box with walls, a voice and a microphone in it. Each is defined by its name, `made:room:SEED`.

A folder of responses has few rooms, and what a suppressor takes from a reverberant voice differs from room to room.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, fast_length

Array = NDArray[np.float64]

_PREFIX = "made:room:"
SIZE_M = ((2.5, 20.0), (2.5, 15.0), (2.3, 6.0))
REVERBERATION_S = (0.12, 2.0)
DISTANCE_M = (0.3, 5.0)
FROM_WALLS_M = 0.3
TILT = (0.0, 0.35)
SOUND_M_PER_S = 343.0
LATE_S = 0.05
"""From here on noise replaces the echoes, which are dense by then (Polack 1993, Applied Acoustics 38)."""
JITTER_M = 0.05
"""Random displacement of mirror images; without it a box whistles (De Sena et al. 2015, IEEE/ACM TASLP 23)."""
BANDS_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16_000.0)
AIR_DB_PER_KM = (0.4, 1.3, 2.7, 4.7, 9.9, 29.7, 105.0, 340.0)
"""At 20 °C and 50 % relative humidity (ISO 9613-1:1993)."""
LOWEST_HZ = 50.0


@dataclass(frozen=True)
class Box:
    """A room: lengths and positions in metres."""

    size_m: tuple[float, float, float]
    source_m: tuple[float, float, float]
    microphone_m: tuple[float, float, float]
    reverberation_s: float
    """Time in which sound at 1 kHz decays by 60 dB, by absorption of the walls alone."""
    tilt: float = 0.0
    """The time is proportional to frequency to the power of −tilt: curtains and people absorb high frequencies."""


def made_room_name(seed: int) -> str:
    """The name of a synthetic room."""
    return f"{_PREFIX}{seed}"


def is_made_room(name: str) -> bool:
    """Whether a room's name is that of a synthetic one; file names end with a suffix, seeds have none."""
    return name.startswith(_PREFIX) and name[len(_PREFIX) :].isdigit()


def make_room(name: str) -> FloatArray:
    """The response `[R]` of the room of that name at 48 kHz; a pure function of the name."""
    rng = np.random.default_rng([int(name.removeprefix(_PREFIX)), 37])
    return response_of(draw_box(rng), rng)


def draw_box(rng: np.random.Generator) -> Box:
    """A random room, from the size of a car to a hall; larger ones may reverberate longer, as Sabine found."""
    size = [float(rng.uniform(*span)) for span in SIZE_M]
    volume = float(np.prod(size))
    longest = min(REVERBERATION_S[1], 0.3 * volume ** (1 / 3))
    seconds = float(np.exp(rng.uniform(np.log(REVERBERATION_S[0]), np.log(longest))))
    microphone = np.array([rng.uniform(FROM_WALLS_M, edge - FROM_WALLS_M) for edge in size])
    direction = rng.standard_normal(3) * (1.0, 1.0, 0.3)  # mouth and microphone are at similar heights
    distance = float(np.exp(rng.uniform(*np.log(DISTANCE_M))))
    away = microphone + distance * direction / np.linalg.norm(direction)
    source = np.clip(away, FROM_WALLS_M, np.array(size) - FROM_WALLS_M)
    if np.linalg.norm(source - microphone) < DISTANCE_M[0]:
        source = microphone + (np.array(size) / 2.0 - microphone) * 0.5 + 1e-3
    return Box(_point(size), _point(source), _point(microphone), seconds, float(rng.uniform(*TILT)))


def response_of(box: Box, rng: np.random.Generator) -> FloatArray:
    """The response `[R]` of a box at 48 kHz, including the propagation delay to the microphone.

        early   Σ e^(−6.9·t / T60) / d    over the mirror images at distance d (Allen & Berkley 1979, JASA 65)
        late    noise · √(4·π·c / (V·f_s)) · e^(−6.9·t / T60)    the same power, from 50 ms after the start

    with t counted from the direct sound, which no wall has attenuated. Per octave the decay rate is
    6.9 / T60 · (f / 1 kHz)^tilt, plus absorption by the air.
    """
    base = 6.91 / box.reverberation_s
    length = round(SAMPLE_RATE_HZ * min(2.0, 1.1 * box.reverberation_s + LATE_S))
    begun = np.arange(length) / SAMPLE_RATE_HZ
    distances = _image_distances(box, rng)
    t = np.maximum(begun - distances[0] / SOUND_M_PER_S, 0.0)
    response = np.zeros(length)
    arrival = np.rint(distances / SOUND_M_PER_S * SAMPLE_RATE_HZ).astype(np.int64)
    heard = arrival < length
    np.add.at(response, arrival[heard], np.exp(-base * t[arrival[heard]]) / distances[heard])
    volume = float(np.prod(box.size_m))
    power = 4.0 * np.pi * SOUND_M_PER_S / (volume * SAMPLE_RATE_HZ)
    late = np.sqrt(power) * np.exp(-base * t) * rng.standard_normal(length)
    share = np.clip((begun - 0.8 * LATE_S) / (0.2 * LATE_S), 0.0, 1.0)
    response = np.sqrt(1.0 - share) * response + np.sqrt(share) * late
    return _audible(_decayed_by_octave(response, t, base, box.tilt)).astype(np.float32)


def _image_distances(box: Box, rng: np.random.Generator) -> Array:
    """Distances to the microphone: of the source first, then of all mirror images heard before `LATE_S`."""
    size, source, microphone = (np.array(x) for x in (box.size_m, box.source_m, box.microphone_m))
    reach = SOUND_M_PER_S * LATE_S
    spans = [np.arange(-count, count + 1) for count in np.ceil(reach / (2.0 * size)).astype(int) + 1]
    shifts = 2.0 * size * np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    signs = np.stack(np.meshgrid(*[(1.0, -1.0)] * 3, indexing="ij"), axis=-1).reshape(1, -1, 3)
    images = (shifts + signs * source - microphone).reshape(-1, 3)
    images += rng.uniform(-JITTER_M, JITTER_M, images.shape)
    direct = float(np.linalg.norm(source - microphone))
    distances = np.linalg.norm(images, axis=1)
    distances = np.sort(distances[distances < reach])
    # The nearest one is the jittered direct sound; restore its exact distance.
    distances[0] = direct
    return np.asarray(np.maximum(distances, direct))


def _decayed_by_octave(response: Array, t: Array, base: float, tilt: float) -> Array:
    size = fast_length(2 * len(response))
    spectrum, hertz = np.fft.rfft(response, size), np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ)
    place = np.interp(np.log(np.maximum(hertz, 1.0)), np.log(BANDS_HZ), np.arange(len(BANDS_HZ)))
    out = np.zeros(len(response))
    for band, (centre, air_db) in enumerate(zip(BANDS_HZ, AIR_DB_PER_KM, strict=True)):
        walls = base * (centre / 1000.0) ** tilt
        air = SOUND_M_PER_S * air_db / 1000.0 * np.log(10.0) / 20.0
        weight = np.clip(1.0 - np.abs(place - band), 0.0, 1.0)
        out += np.fft.irfft(spectrum * weight, size)[: len(response)] * np.exp((base - walls - air) * t)
    return out


def _audible(response: Array) -> Array:
    """Remove everything below `LOWEST_HZ`: mirror images are all positive, so they add up to an offset, not sound."""
    size = fast_length(len(response))
    hertz = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(response, size) * np.clip(hertz / LOWEST_HZ, 0.0, 1.0) ** 2
    return np.asarray(np.fft.irfft(spectrum, size)[: len(response)])


def _point(values: Iterable[float]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
