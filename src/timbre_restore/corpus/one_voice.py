"""Problems in the recordings of a single speaker: a model of one voice is only as good as its clean recordings.

Checked where a corpus has one speaker: the first `HEARD_S` of up to `MOST_RECORDINGS` recordings, which takes a few
seconds. All findings are warnings only: the user knows best what was recorded, and where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import (
    HOP_SAMPLES,
    SAMPLE_RATE_HZ,
    FloatArray,
    active_rms,
    bandwidth_hz,
    read_audio,
    resample,
    to_db,
)
from timbre_restore.errors import AudioFileError
from timbre_restore.metrics import NotComputableError, is_silent
from timbre_restore.metrics.speaker import embedding
from timbre_restore.suppressors import Suppressor, SuppressorSettings, load_suppressor

MOST_RECORDINGS = 48
HEARD_S = 20.0
QUIET_SHARE = 0.2
NOISY_DB = -25.0
"""For 35 speakers, most recordings measure below −30; with steady noise added 20 dB below the voice, −20."""
NARROW_HZ = 12_000
STRANGER = 0.8
"""Cosine similarity to the mean of the others. Over 24 speakers: 0.76 to 0.98 for own recordings; for recordings of
other people, 19 in 20 are below 0.83 and half are below 0.7."""
FEWEST_TO_COMPARE = 3
SHOWN = 3


@dataclass(frozen=True)
class Heard:
    """One recording: its bandwidth, its noise relative to the voice, its voice embedding (None if unavailable)."""

    name: str
    bandwidth_hz: int
    noise_db: float
    voice: NDArray[np.float64] | None


def doubts_about(recordings: Sequence[tuple[str, Path]]) -> list[str]:
    """Warnings about one person's recordings, given as (name, file); unreadable and silent ones are skipped."""
    if len(recordings) == 1:
        name = recordings[0][0]
        doubts = [f"{name} is the only recording, so the model may learn that one session; provide five or more"]
    else:
        doubts = []
    step = max(1, -(-len(recordings) // MOST_RECORDINGS))
    suppressor = load_suppressor(SuppressorSettings())
    heard = [found for name, path in recordings[::step] if (found := _listen(name, path, suppressor))]
    noisy = sorted((h for h in heard if h.noise_db > NOISY_DB), key=lambda h: -h.noise_db)
    if noisy:
        doubts.append(
            f"{_some(noisy, heard)} noise less than {-NOISY_DB:.0f} dB below the voice: "
            f"{_shown([(h.name, f'{-h.noise_db:.0f} dB') for h in noisy])}; the model learns to restore that noise "
            "too: record again, or leave them out"
        )
    narrow = sorted((h for h in heard if h.bandwidth_hz < NARROW_HZ), key=lambda h: h.bandwidth_hz)
    if narrow:
        doubts.append(
            f"{_some(narrow, heard)} nothing above {NARROW_HZ / 1000:.0f} kHz: "
            f"{_shown([(h.name, f'{h.bandwidth_hz / 1000:.1f} kHz') for h in narrow])}; the restored voice "
            "will be just as dull: record at 44.1 kHz or more, without a telephony codec"
        )
    return doubts + _strangers(heard)


def _listen(name: str, path: Path, suppressor: Suppressor) -> Heard | None:
    try:
        samples, rate_hz = read_audio(path)  # whole file: the length in a header is not always right
    except AudioFileError:
        return None
    sound = resample(samples[0, : int(HEARD_S * rate_hz)], rate_hz, SAMPLE_RATE_HZ)
    if len(sound) < SAMPLE_RATE_HZ or is_silent(sound):
        return None
    try:
        voice = embedding(sound)
    except NotComputableError:
        voice = None
    return Heard(name, bandwidth_hz(sound, SAMPLE_RATE_HZ), noise_under_voice_db(sound, suppressor(sound)), voice)


def noise_under_voice_db(sound: FloatArray, suppressed: FloatArray) -> float:
    """Noise level of `[T]` relative to its voice, in dB.

    Measured in the quietest fifth of its 10 ms frames: their level, or the level of what the suppressor removes from
    them, whichever is lower. Without pauses those frames hold voice, which the suppressor leaves alone; from a clean
    pause it removes nothing.
    """
    whole = len(sound) // HOP_SAMPLES * HOP_SAMPLES
    own, taken = (
        np.mean(np.square(x[:whole].reshape(-1, HOP_SAMPLES), dtype=np.float64), axis=1)
        for x in (sound, sound - suppressed)
    )
    quiet = own <= np.quantile(own, QUIET_SHARE)
    return to_db(float(np.sqrt(min(own[quiet].mean(), taken[quiet].mean())))) - to_db(active_rms(sound))


def _strangers(heard: Sequence[Heard]) -> list[str]:
    known = [(h, h.voice) for h in heard if h.voice is not None]
    if len(known) < FEWEST_TO_COMPARE:
        return []
    whole = np.sum([voice for _, voice in known], axis=0)
    likeness = {h.name: float(voice @ (whole - voice) / np.linalg.norm(whole - voice)) for h, voice in known}
    odd = sorted((item for item in likeness.items() if item[1] < STRANGER), key=lambda item: item[1])
    if not odd:
        return []
    shown = _shown([(name, f"{value:.2f}") for name, value in odd])
    many = f"{len(odd)} of {len(known)} recordings {'sounds' if len(odd) == 1 else 'sound'}"
    doubt = f"{many} like a different person from the rest: {shown}; {STRANGER:g} or more is the same person"
    return [f"{doubt}. Provide recordings of one voice only"]


def _some(odd: Sequence[Heard], heard: Sequence[Heard]) -> str:
    return f"{len(odd)} of {len(heard)} recordings {'contains' if len(odd) == 1 else 'contain'}"


def _shown(named: Sequence[tuple[str, str]]) -> str:
    listed = [f"{name} ({value})" for name, value in named[:SHOWN]]
    return ", ".join([*listed, "…"] if len(named) > SHOWN else listed)
