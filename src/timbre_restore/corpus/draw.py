"""What chance decides about a take, drawn before anything is applied, from the take's own name.

The generator is seeded by (seed, source, recording, pass) and by nothing else: neither shard nor worker nor order nor
where the folders lie can change a draw. All numbers are drawn whether they are used or not, so that changing one range
moves no other draw.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timbre_restore.corpus.plan import Plan, Take
from timbre_restore.corpus.scan import Sound
from timbre_restore.corpus.spec import CorpusSpec

CANDIDATES = 8
"""Noises and rooms drawn per take; the first that can be used is, so one broken file costs no recording."""


@dataclass(frozen=True)
class Draw:
    """The parameters of one take."""

    speech_level_dbfs: float
    """Of active speech, in the room if there is one."""
    snr_db: float
    rooms: tuple[str, ...]
    """Candidates, relative paths; empty for no room."""
    noises: tuple[str, ...]
    """Candidates, relative paths."""
    noise_position: float
    """Where in the noise the stretch begins, in [0, 1)."""


def take_key(take: Take) -> str:
    """The take's name for hashing: the same wherever the folders lie."""
    return f"{take.recording.source}\0{take.recording.relative}\0{take.pass_index}"


def take_id(take: Take) -> str:
    """Short, unique and readable by every file system."""
    return hashlib.sha256(os.fsencode(take_key(take))).hexdigest()[:20]


def draw_take(spec: CorpusSpec, plan: Plan, take: Take) -> Draw:
    """The draw of a take: equal for equal spec and names, in any process."""
    digest = hashlib.sha256(os.fsencode(f"{spec.seed}\0{take_key(take)}")).digest()
    rng = np.random.default_rng(np.frombuffer(digest, dtype="<u4").tolist())
    level = float(rng.uniform(*spec.speech_level_dbfs))
    snr = float(rng.uniform(*spec.snr_db))
    in_room = bool(rng.random() < spec.room_probability)
    position = float(rng.random())
    noise_points = rng.random(CANDIDATES)
    room_points = rng.random(CANDIDATES)
    rooms = plan.rooms[take.split] if in_room else ()
    return Draw(level, snr, _pick(rooms, room_points), _pick(plan.noises[take.split], noise_points), position)


def _pick(sounds: Sequence[Sound], points: NDArray[np.float64]) -> tuple[str, ...]:
    """The names of the sounds at `points` of [0, 1), in order, each once."""
    return tuple(dict.fromkeys(sounds[int(point * len(sounds))].relative for point in points)) if sounds else ()
