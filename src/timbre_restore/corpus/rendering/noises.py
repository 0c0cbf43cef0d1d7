"""The noise of a take: recorded or synthetic, optionally varied, one or two at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from timbre_restore.audio import (
    SAMPLE_RATE_HZ,
    FloatArray,
    from_db,
    read_channel,
    read_info,
    read_mono,
    resample,
    rms,
    to_db,
)
from timbre_restore.corpus.planning.draw import NoiseDraw, Variation
from timbre_restore.corpus.rendering.filters import filtered
from timbre_restore.corpus.rendering.made_noise import is_made, make_noise
from timbre_restore.corpus.rendering.rejects import Rejects, TakeSkipped, reason_without
from timbre_restore.errors import AudioFileError

SILENCE_DBFS = -70.0  # a quieter stretch would be amplified by tens of dB, and its dither with it


def mixed_noises(
    draws: Sequence[NoiseDraw], root: Path | None, length: int, weighed: int, rejects: Rejects
) -> tuple[tuple[str, ...], int, FloatArray]:
    """Names, first sample of the first noise's stretch, and the sum `[length]`, in which the first noise has RMS 0.1.

    Each noise must be audible within the first `weighed` samples, which set the level of the sum relative to the voice.
    A second noise without a usable candidate is left out. Raises `TakeSkipped` when the first noise has none.
    """
    names: list[str] = []
    total, first_offset = np.zeros(length, np.float32), 0
    for draw in draws:
        found = _first_usable(draw, root, length, weighed, rejects)
        if found is None:
            if not names:
                reason = f"none of its {len(draw.names)} drawn noises could be used (the first was {draw.names[0]})"
                raise TakeSkipped(reason, rejects)
            continue
        name, offset, stretch = found
        first_offset = offset if not names else first_offset
        total += stretch * np.float32(0.1 * from_db(draw.level_db) / rms(stretch))
        names.append(name)
    return tuple(names), first_offset, total


def load_stretch(path: Path, position: float, length: int) -> tuple[int, FloatArray]:
    """A stretch of a noise, starting at `position` in [0, 1) of the possible starts; a shorter noise is looped."""
    info = read_info(path)
    whole = info.samples * SAMPLE_RATE_HZ // info.sample_rate_hz
    if whole <= 0:
        raise AudioFileError("contains no samples")
    if whole > length:
        offset = int(position * (whole - length))
        first = offset * info.sample_rate_hz // SAMPLE_RATE_HZ
        wanted = -(-length * info.sample_rate_hz // SAMPLE_RATE_HZ) + 2
        samples, rate = read_channel(path, start=first, length=min(wanted, info.samples - first))
        stretch = resample(samples, rate, SAMPLE_RATE_HZ)[:length]
        return offset, np.pad(stretch, (0, length - len(stretch)))
    circle = read_mono(path)
    offset = int(position * len(circle))
    return offset, np.resize(np.roll(circle, -offset), length)


def vary(stretch: FloatArray, variation: Variation, length: int) -> FloatArray:
    """The stretch `[length]` with the variation applied; another speed needs `length · speed` input samples."""
    if variation.speed != 1.0:
        stretch = resample(stretch, round(SAMPLE_RATE_HZ * variation.speed), SAMPLE_RATE_HZ)
        stretch = np.pad(stretch, (0, max(0, length - len(stretch))), mode="wrap")[:length]
    if variation.backwards:
        stretch = stretch[::-1]
    return filtered(np.ascontiguousarray(stretch, dtype=np.float32), variation)


def _first_usable(
    draw: NoiseDraw, root: Path | None, length: int, weighed: int, rejects: Rejects
) -> tuple[str, int, FloatArray] | None:
    for name in draw.names:
        if is_made(name):
            return name, 0, make_noise(name, length)
        path = (root or Path()) / name
        try:
            needed = int(np.ceil(length * draw.variation.speed)) + 1 if draw.variation.speed != 1.0 else length
            offset, stretch = load_stretch(path, draw.position, needed)
        except AudioFileError as exc:
            rejects.append(("noise", name, reason_without(path, exc)))
            continue
        level = to_db(rms(stretch))
        if level >= SILENCE_DBFS:
            varied = vary(stretch, draw.variation, length)
            level = to_db(rms(varied[:weighed]))
            if level >= SILENCE_DBFS:
                return name, offset, varied
        rejects.append(("noise", name, f"silent in the drawn stretch: {level:.0f} dBFS"))
    return None
