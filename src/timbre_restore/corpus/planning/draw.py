"""The random parameters of a take, drawn from the take's own name before anything is applied.

The generator is seeded by (seed, source, recording, pass, part) and nothing else: shard, worker, order and the location
of the folders can't change a draw. All numbers are drawn whether they are used or not, so that changing one range does
not affect any other draw.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from timbre_restore.corpus.planning.scan import SourceFile
from timbre_restore.corpus.planning.split import Split
from timbre_restore.corpus.rendering.made_noise import MADE_KINDS, made_name
from timbre_restore.corpus.rendering.made_room import made_room_name
from timbre_restore.corpus.spec import CorpusSpec
from timbre_restore.suppressors import SuppressorSettings

CANDIDATES = 4
"""Noises and rooms drawn per take; the first usable one is taken, so one broken file does not cost a recording."""
NOISES = 2  # at most, in one take
PAUSE_S = (1.0, 4.0)
BAND_LIMITS_HZ = (3400, 7000, 11_000, 15_000)  # telephone, wideband, super-wideband, a lossy codec at a low rate
SECOND_NOISE_DB = (-12.0, 0.0)
PEAK_HZ = (200.0, 10_000.0)
SPEED = (0.7, 1.4)
TILT_DB_PER_OCTAVE = (-4.0, 4.0)
PEAK_DB = (-12.0, 12.0)
VOICE_SPEED = (0.8, 1.25)
"""Pitch and formants move together, as between a large person and a small one: about a third of an octave either way.
In speaker recognition, speeds of 0.9 and 1.1 count as additional speakers (Yamamoto et al. 2019, Interspeech)."""
VOICE_TILT_DB_PER_OCTAVE = (-1.5, 1.5)
VOICE_PEAK_DB = (-6.0, 6.0)
"""Milder filters than for noises: microphones differ less than kinds of noise do."""


@dataclass(frozen=True)
class Variation:
    """How a sound is played: at another speed and pitch, reversed, through a filter. Unchanged by default."""

    speed: float = 1.0
    backwards: bool = False
    tilt_db_per_octave: float = 0.0
    peak_hz: float = 1000.0
    peak_db: float = 0.0


@dataclass(frozen=True)
class NoiseDraw:
    """One noise of a take."""

    names: tuple[str, ...]
    """Candidates: relative paths, or the name of one synthetic noise."""
    position: float = 0.0
    """Where in the noise the stretch begins, in [0, 1)."""
    level_db: float = 0.0
    """Relative to the first noise of the take."""
    variation: Variation = field(default_factory=Variation)


@dataclass(frozen=True)
class Draw:
    """The parameters of one take."""

    speech_level_dbfs: float
    """Of active speech, in the room if there is one."""
    snr_db: float
    """Of all noises together; unused without noise."""
    rooms: tuple[str, ...] = ()
    """Candidates: relative paths, or the name of one synthetic room; empty for no room."""
    noises: tuple[NoiseDraw, ...] = ()
    """Empty for clean input."""
    pause_s: float = 0.0
    """Length of a pause inserted into the voice, while noise and reverberation continue."""
    pause_position: float = 0.0
    """Approximate position in [0, 1) of the recording; the pause goes to the quietest moment nearby."""
    band_limit_hz: int = 0
    """0 for none. The target is limited too: what never reached the suppressor can't be restored."""
    voice: Variation = field(default_factory=Variation)
    """How the recording is played, in input and target alike: like another person at another microphone."""
    suppressor: SuppressorSettings = field(default_factory=SuppressorSettings)


def draw_take(
    spec: CorpusSpec, key: str, split: Split, noises: Sequence[SourceFile], rooms: Sequence[SourceFile]
) -> Draw:
    """The draw of the take named `key`: equal for equal spec and names, in any process.

    Validation uses all sounds as they were recorded: variety helps training, but would blur the measurement.
    """
    rng = _generator(spec.seed, key)
    level, snr = (float(rng.uniform(*span)) for span in (spec.speech_level_dbfs, spec.snr_db))
    in_room, clean, two, paused, limited = rng.random(5) < (
        spec.room_probability,
        spec.variety.clean_input,
        spec.variety.two_noises,
        spec.variety.pause,
        spec.variety.band_limit,
    )
    pause_s, pause_position = float(rng.uniform(*PAUSE_S)), float(rng.random())
    band_limit = BAND_LIMITS_HZ[rng.integers(len(BAND_LIMITS_HZ))]
    room_points, which = rng.random(CANDIDATES), float(rng.random())
    drawn = [_draw_noise(rng, spec, noises, varied=split == "train", first=i == 0) for i in range(NOISES)]
    other_voice = rng.random() < spec.variety.varied_voice and split == "train"
    voice = _draw_variation(rng, VOICE_SPEED, VOICE_TILT_DB_PER_OCTAVE, VOICE_PEAK_DB)
    made_room = rng.random() < spec.variety.made_room and split == "train"
    room = (made_room_name(int(rng.integers(2**31))),) if made_room else _pick(rooms, room_points)
    return Draw(
        round(level, 3),
        round(snr, 3),
        room if in_room else (),
        () if clean else tuple(drawn[: NOISES if two else 1]),
        round(pause_s, 2) if paused else 0.0,
        round(pause_position, 4) if paused else 0.0,
        band_limit if limited else 0,
        voice if other_voice else Variation(),
        _weighted(spec, which),
    )


def keeps_silent_item(spec: CorpusSpec, key: str, index: int) -> bool:
    """Whether item `index` of a take is kept although it has almost no voice: a share of `variety.silent_items` is."""
    return bool(_generator(spec.seed, f"{key}\0silent\0{index}").random() < spec.variety.silent_items)


def _generator(seed: int, key: str) -> np.random.Generator:
    digest = hashlib.sha256(os.fsencode(f"{seed}\0{key}")).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4").tolist())


def _draw_noise(
    rng: np.random.Generator, spec: CorpusSpec, noises: Sequence[SourceFile], *, varied: bool, first: bool
) -> NoiseDraw:
    points, position = rng.random(CANDIDATES), float(rng.random())
    level = float(rng.uniform(*SECOND_NOISE_DB))
    made, vary, backwards = rng.random(3) < (spec.variety.made_noise, spec.variety.varied_noise, 0.3)
    made = (varied and made) or not noises
    name = made_name(MADE_KINDS[rng.integers(len(MADE_KINDS))], int(rng.integers(2**31)))
    variation = replace(_draw_variation(rng, SPEED, TILT_DB_PER_OCTAVE, PEAK_DB), backwards=bool(backwards))
    return NoiseDraw(
        (name,) if made else _pick(noises, points),
        round(position, 6),
        0.0 if first else round(level, 2),
        variation if varied and vary and not made else Variation(),
    )


def _draw_variation(
    rng: np.random.Generator,
    speed: tuple[float, float],
    tilt_db_per_octave: tuple[float, float],
    peak_db: tuple[float, float],
) -> Variation:
    faster, peak_hz = (float(np.exp(rng.uniform(*np.log(span)))) for span in (speed, PEAK_HZ))
    tilt, peak = (float(rng.uniform(*span)) for span in (tilt_db_per_octave, peak_db))
    return Variation(round(faster, 3), False, round(tilt, 2), round(peak_hz, 1), round(peak, 2))


def _pick(sounds: Sequence[SourceFile], points: NDArray[np.float64]) -> tuple[str, ...]:
    """The names of the sounds at `points` in [0, 1), in order, without repeats."""
    return tuple(dict.fromkeys(sounds[int(point * len(sounds))].relative for point in points)) if sounds else ()


def _weighted(spec: CorpusSpec, point: float) -> SuppressorSettings:
    """The suppressor of the spec that `point` in [0, 1) falls on, by weight."""
    reached, total = 0.0, sum(weight for _, weight in spec.suppressors)
    for settings, weight in spec.suppressors:
        reached += weight / total
        if point < reached:
            return settings
    return spec.suppressors[-1][0]
