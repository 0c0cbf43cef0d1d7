"""From a plan row to the suppressor's input and the matching target: a pure function of the row and the files it names.

In order: resample the recording to 48 kHz, possibly as another voice; insert a pause, if one was drawn; apply the room,
cut at its direct path; set the level of the reverberant speech, because rooms differ by twenty decibels in what they
add to a peak of 1; add the noises at their SNR; apply a band limit. Room and noises continue for the suppressor's
look-ahead, as they would in a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timbre_restore.audio import (
    SAMPLE_RATE_HZ,
    FloatArray,
    active_rms,
    bandwidth_hz,
    from_db,
    read_channel,
    read_info,
    resample,
    rms,
    to_db,
)
from timbre_restore.corpus.planning.plan import Take
from timbre_restore.corpus.rendering.filters import filtered, low_passed
from timbre_restore.corpus.rendering.noises import mixed_noises
from timbre_restore.corpus.rendering.rejects import Rejects, TakeSkipped, reason_without
from timbre_restore.corpus.rendering.rooms import LOWEST_RATE_HZ, first_room, in_room
from timbre_restore.errors import AudioFileError

SILENCE_DBFS = -80.0
PAUSE_SEARCH_S = 1.0  # search range for the quietest moment around the drawn position
PAUSE_FADE_SAMPLES = 480


@dataclass(frozen=True)
class Applied:
    """What was applied to a take, for its row in `items.tsv`: resolved candidates and computed gains."""

    bandwidth_hz: int
    speech_gain_db: float
    noises: tuple[str, ...]
    noise_offset: int
    """First sample of the first noise's stretch, at 48 kHz."""
    noise_gain_db: float
    """0 without noise."""
    room: str
    pause_start: int
    """First sample of the pause, at 48 kHz; 0 without one."""


@dataclass(frozen=True)
class Mixture:
    """`clean` `[T]` and `noisy` `[T + lead]`, before any gain against clipping."""

    clean: FloatArray
    noisy: FloatArray
    applied: Applied
    rejects: Rejects
    """Noises and rooms that could not be used."""


@dataclass(frozen=True)
class Folders:
    """Where to find the files that a plan names."""

    sources: tuple[Path, ...]
    noises: Path | None
    rooms: Path | None


def mix(take: Take, folders: Folders, segment: int, lead: int) -> Mixture:
    """The mixture of one take, `lead` samples longer than its speech.

    Raises `TakeSkipped` with the reason when the recording can't be used.
    """
    draw = take.draw
    rejects: Rejects = []
    speech, bandwidth = load_speech(folders.sources[take.recording.source], take, segment)
    pause_start = 0
    if draw.pause_s > 0.0:
        pause_start = quiet_moment(speech, draw.pause_position)
        speech = with_pause(speech, pause_start, round(draw.pause_s * SAMPLE_RATE_HZ))
    room, response = first_room(draw.rooms, folders.rooms, rejects)
    heard = np.pad(speech, (0, lead))
    reverberant, clean = (heard, speech) if response is None else in_room(heard, response)
    speech_gain = from_db(draw.speech_level_dbfs) / active_rms(reverberant[: len(speech)])
    noisy, clean = reverberant * np.float32(speech_gain), clean[: len(speech)] * np.float32(speech_gain)
    names: tuple[str, ...] = ()
    offset, noise_gain = 0, 1.0
    if draw.noises:
        names, offset, noise = mixed_noises(draw.noises, folders.noises, len(noisy), len(speech), rejects)
        noise_gain = rms(noisy[: len(speech)]) / (rms(noise[: len(speech)]) * from_db(draw.snr_db))
        noisy = noisy + noise * np.float32(noise_gain)
    if draw.band_limit_hz:
        noisy, clean = (low_passed(signal, draw.band_limit_hz) for signal in (noisy, clean))
    applied = Applied(bandwidth, to_db(speech_gain), names, offset, to_db(noise_gain), room, pause_start)
    return Mixture(clean, noisy, applied, rejects)


def load_speech(folder: Path, take: Take, segment: int) -> tuple[FloatArray, int]:
    """The take's stretch `[T]` of one channel at 48 kHz, and its file's bandwidth in hertz, or `TakeSkipped`."""
    path = folder / take.recording.relative
    try:
        info = read_info(path)
        if info.sample_rate_hz < LOWEST_RATE_HZ:
            raise TakeSkipped(f"sampled at {info.sample_rate_hz} Hz; expected {LOWEST_RATE_HZ} Hz or more")
        if (info.sample_rate_hz, info.samples) != (take.recording.rate_hz, take.recording.samples):
            raise TakeSkipped("not the file in the plan: its rate or length has changed since")
        rate = take.played_rate_hz
        if take.length * SAMPLE_RATE_HZ < segment * rate:
            raise TakeSkipped(f"too short: {take.length / rate:.2f} s do not fill one item")
        own, _ = read_channel(path, start=take.start, length=take.length)
    except AudioFileError as exc:
        raise TakeSkipped(f"unreadable: {reason_without(path, exc)}") from exc
    speech = resample(own, rate, SAMPLE_RATE_HZ)
    if len(speech) < segment:
        raise TakeSkipped(f"too short: {len(speech) / SAMPLE_RATE_HZ:.2f} s do not fill one item")
    level = to_db(active_rms(speech))
    if level < SILENCE_DBFS:
        raise TakeSkipped(f"silent: its active level is {level:.0f} dBFS")
    return filtered(speech, take.draw.voice), bandwidth_hz(own, info.sample_rate_hz)


def quiet_moment(speech: FloatArray, position: float) -> int:
    """The sample near `position` in [0, 1) with the least energy in the surrounding 20 ms: a safe place to pause."""
    span, hop = int(PAUSE_SEARCH_S * SAMPLE_RATE_HZ), PAUSE_FADE_SAMPLES
    middle = int(position * len(speech))
    low = max(0, min(middle - span, len(speech) - 2 * hop))
    stretch = speech[low : max(middle + span, low + 2 * hop)]
    power = np.square(stretch[: len(stretch) // hop * hop].reshape(-1, hop)).sum(axis=1)
    return low + hop * (1 + int(np.argmin(power[:-1] + power[1:]) if len(power) > 1 else 0))


def with_pause(speech: FloatArray, start: int, samples: int) -> FloatArray:
    """`speech` with `samples` zeros inserted before sample `start`, and 10 ms fades on both sides."""
    before, after = speech[:start].copy(), speech[start:].copy()
    for outwards in (before[::-1], after):
        count = min(PAUSE_FADE_SAMPLES, len(outwards))
        outwards[:count] *= np.linspace(0.0, 1.0, count, endpoint=False, dtype=np.float32)
    return np.concatenate([before, np.zeros(samples, np.float32), after])
