"""Sound files in and out, whole: float32 arrays `[C, T]` in ±1, rates in hertz."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from timbre_restore.atomic import write_bytes
from timbre_restore.audio.levels import NO_SOUND, is_sound
from timbre_restore.audio.pcm import to_pcm
from timbre_restore.audio.resampling import resample
from timbre_restore.audio.whole import check_whole
from timbre_restore.errors import AudioFileError

FloatArray = NDArray[np.float32]

SAMPLE_RATE_HZ = 48_000
HOP_SAMPLES = 480
AUDIO_SUFFIXES = (".wav", ".flac")
NO_LENGTH = 1 << 62
"""From here on libsndfile's count of samples means that a file does not tell it."""
SILENT_SHARE = 1e-3
"""A channel this far below the loudest (60 dB) holds nothing beside it, dither perhaps."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says."""

    sample_rate_hz: int
    channels: int
    samples: int
    """Per channel."""
    format: str
    subtype: str


def read_info(path: Path) -> AudioInfo:
    """Read a header. Raises `AudioFileError` for what is no audio, is cut off, or does not tell its length."""
    try:
        info = soundfile.info(name_for_libsndfile(path))
    except (soundfile.LibsndfileError, OSError) as exc:
        raise AudioFileError(_unreadable(path, exc)) from exc
    _refuse_no_length(path, info.frames)
    check_whole(path)
    return AudioInfo(info.samplerate, info.channels, info.frames, info.format, info.subtype)


def read_audio(path: Path, *, start: int = 0, length: int = -1) -> tuple[FloatArray, int]:
    """Read `[C, T]` float32 and the rate in hertz; `start` and `length` count samples per channel.

    Raises `AudioFileError` when the file is missing, is no audio, is cut off, or holds what is no sound.
    """
    promised = 0
    try:
        with soundfile.SoundFile(name_for_libsndfile(path)) as file:
            _refuse_no_length(path, file.frames)
            if length < 0:  # who reads a part has read the header before
                check_whole(path)
            promised = file.frames - start if length < 0 else min(length, file.frames - start)
            file.seek(start)
            samples = file.read(length, dtype="float32", always_2d=True)
            rate = int(file.samplerate)
    except (soundfile.LibsndfileError, OSError, ValueError) as exc:
        raise AudioFileError(_unreadable(path, exc)) from exc
    except MemoryError as exc:
        raise AudioFileError(
            f"{path}: the header promises {promised} samples, more than memory holds; copy the file again."
        ) from exc
    if len(samples) < promised:
        raise AudioFileError(
            f"{path}: the header promises {promised} samples and {len(samples)} can be read; copy the file again."
        )
    if not is_sound(samples).all():
        raise AudioFileError(f"{path}: holds {NO_SOUND}; export it again from its source.")
    return np.ascontiguousarray(samples.T), rate


class Channel(NamedTuple):
    """A channel by its number from 0, and of how many."""

    number: int
    channels: int

    @classmethod
    def of(cls, samples: FloatArray) -> Channel:
        """The one that stands for all of `[C, T]` (`sounding_channel`)."""
        return cls(sounding_channel(samples), len(samples))


def read_channel(
    path: Path, *, start: int = 0, length: int = -1, channel: Channel | None = None
) -> tuple[FloatArray, int]:
    """Read the one channel that stands for all, `[T]`, and the rate in hertz; else like `read_audio`.

    Where the file has as many channels as `channel` tells, that one is read: files that belong together are heard on
    one side, whatever else sounds on the others.
    """
    samples, rate = read_audio(path, start=start, length=length)
    own = Channel.of(samples) if channel is None or channel.channels != len(samples) else channel
    return samples[own.number], rate


def read_mono(path: Path, rate_hz: int = SAMPLE_RATE_HZ, *, channel: Channel | None = None) -> FloatArray:
    """Read the one channel that stands for all as `[T]` at `rate_hz`; `channel` as in `read_channel`."""
    return resample(*read_channel(path, channel=channel), rate_hz)


def sounding_channel(samples: FloatArray) -> int:
    """Which channel of `[C, T]` stands for all: the first one, unless that is silent where another one is not.

    A mean of channels would comb-filter spaced microphones; and many a recorder leaves one channel empty.
    """
    power = np.array([np.vdot(channel, channel) for channel in samples])
    return int(np.argmax(power >= SILENT_SHARE**2 * power.max(initial=0.0)))


def write_audio(path: Path, samples: FloatArray, rate_hz: int, *, subtype: str | None = None) -> None:
    """Write `[T]` or `[C, T]` by rename; the format follows the suffix, 16 bit unless `subtype` says otherwise.

    The caller keeps the samples within ±1: integer formats clip beyond it.
    """
    data = samples if samples.ndim == 1 else samples.T
    try:
        # In memory first: a full disk is then met by one plain write, which says so; libsndfile would not.
        write_bytes(path, encoded(data, rate_hz, path.suffix[1:], subtype=subtype or "PCM_16"))
    except (soundfile.LibsndfileError, OSError, ValueError, TypeError) as exc:
        raise AudioFileError(
            f"{path}: can't be written ({reason_of(exc)}); check the folder, the disk and the format."
        ) from exc


def encoded(samples: NDArray[np.generic], rate_hz: int, kind: str, *, subtype: str = "PCM_16") -> bytes:
    """The bytes of a file of `kind` (wav, flac) that holds `[T]` or `[T, C]`. Raises what libsndfile does."""
    if subtype == "PCM_16" and samples.dtype != np.int16:
        samples = to_pcm(samples.astype(np.float32))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=kind.upper(), subtype=subtype)
    return buffer.getvalue()


def sounds_in(folder: Path) -> list[Path]:
    """The sound files of a folder, sorted, those of its folders left out."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in AUDIO_SUFFIXES)


def is_text(name: str) -> bool:
    """Whether a file's name can be written in UTF-8, as reports and answers that are kept by it need."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_no_length(path: Path, samples: int) -> None:
    if samples >= NO_LENGTH:
        raise AudioFileError(f"{path}: does not say how long it is; write it again, as a file and not through a pipe.")


def _unreadable(path: Path, exc: Exception) -> str:
    if not path.exists():
        return f"{path}: no such file; check the path."
    return f"{path}: can't be read as audio ({reason_of(exc)}); expected a wav or flac file."


def reason_of(exc: Exception) -> str:
    """What the system or libsndfile says, without what repeats the path, to be put in brackets."""
    reason = getattr(exc, "strerror", None) or getattr(exc, "error_string", None) or exc
    return str(reason).removeprefix("Error : ").rstrip(".")


def name_for_libsndfile(path: Path) -> str | bytes:
    """What libsndfile opens; as bytes where file names are bytes, because some are no text."""
    return str(path) if sys.platform == "win32" else os.fsencode(path)
