"""Reads and writes whole audio files: float32 arrays `[C, T]` in ±1, rates in hertz."""

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
from timbre_restore.audio.levels import INVALID_SAMPLES, is_valid
from timbre_restore.audio.pcm import to_pcm
from timbre_restore.audio.resampling import resample
from timbre_restore.audio.whole import check_whole
from timbre_restore.errors import AudioFileError

FloatArray = NDArray[np.float32]

SAMPLE_RATE_HZ = 48_000
HOP_SAMPLES = 480
AUDIO_SUFFIXES = (".wav", ".flac")
NO_LENGTH = 1 << 62
"""From this sample count on, libsndfile means that a file does not state its length."""
SILENT_SHARE = 1e-3
"""A channel this far below the loudest (60 dB) counts as empty; it may hold dither."""


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
    """Read a header. Raises `AudioFileError` if the file is not audio, is truncated, or does not state its length."""
    try:
        info = soundfile.info(name_for_libsndfile(path))
    except (soundfile.LibsndfileError, OSError) as exc:
        raise AudioFileError(_unreadable(path, exc)) from exc
    _refuse_no_length(path, info.frames)
    check_whole(path)
    return AudioInfo(info.samplerate, info.channels, info.frames, info.format, info.subtype)


def read_audio(path: Path, *, start: int = 0, length: int = -1) -> tuple[FloatArray, int]:
    """Read `[C, T]` float32 and the rate in hertz; `start` and `length` count samples per channel.

    Raises `AudioFileError` when the file is missing, not audio, truncated, or holds NaN, infinite or huge samples.
    """
    promised = 0
    try:
        with soundfile.SoundFile(name_for_libsndfile(path)) as file:
            _refuse_no_length(path, file.frames)
            if length < 0:  # callers that read a part have already read the header
                check_whole(path)
            promised = file.frames - start if length < 0 else min(length, file.frames - start)
            file.seek(start)
            samples = file.read(length, dtype="float32", always_2d=True)
            rate = int(file.samplerate)
    except (soundfile.LibsndfileError, OSError, ValueError) as exc:
        raise AudioFileError(_unreadable(path, exc)) from exc
    except MemoryError as exc:
        raise AudioFileError(
            f"{path}: the header promises {promised} samples, more than fit into memory; copy the file again."
        ) from exc
    if len(samples) < promised:
        raise AudioFileError(
            f"{path}: the header promises {promised} samples, but only {len(samples)} can be read; copy the file again."
        )
    if not is_valid(samples).all():
        raise AudioFileError(f"{path}: holds {INVALID_SAMPLES}; export it again from its source.")
    return np.ascontiguousarray(samples.T), rate


class Channel(NamedTuple):
    """A channel: its number, counted from 0, and the number of channels of its file."""

    number: int
    channels: int

    @classmethod
    def of(cls, samples: FloatArray) -> Channel:
        """The channel that represents all of `[C, T]` (see `sounding_channel`)."""
        return cls(sounding_channel(samples), len(samples))


def read_channel(
    path: Path, *, start: int = 0, length: int = -1, channel: Channel | None = None
) -> tuple[FloatArray, int]:
    """Read the one channel that represents all, `[T]`, and the rate in hertz; otherwise like `read_audio`.

    If the file has as many channels as `channel` says, that one is read: of files that belong together the same channel
    is used, whatever the other channels hold.
    """
    samples, rate = read_audio(path, start=start, length=length)
    own = Channel.of(samples) if channel is None or channel.channels != len(samples) else channel
    return samples[own.number], rate


def read_mono(path: Path, rate_hz: int = SAMPLE_RATE_HZ, *, channel: Channel | None = None) -> FloatArray:
    """Read the one channel that represents all as `[T]` at `rate_hz`; `channel` as in `read_channel`."""
    return resample(*read_channel(path, channel=channel), rate_hz)


def sounding_channel(samples: FloatArray) -> int:
    """The channel of `[C, T]` that represents all: the first one that is not silent next to the others.

    Averaging channels would comb-filter spaced microphones, and many recorders leave one channel empty.
    """
    power = np.array([np.vdot(channel, channel) for channel in samples])
    return int(np.argmax(power >= SILENT_SHARE**2 * power.max(initial=0.0)))


def write_audio(path: Path, samples: FloatArray, rate_hz: int, *, subtype: str | None = None) -> None:
    """Write `[T]` or `[C, T]` atomically; the suffix selects the format, 16-bit unless `subtype` says otherwise.

    The caller must keep the samples within ±1: integer formats clip beyond that.
    """
    data = samples if samples.ndim == 1 else samples.T
    try:
        # Encode in memory first: one plain write then reports a full disk, which libsndfile would not.
        write_bytes(path, encoded(data, rate_hz, path.suffix[1:], subtype=subtype or "PCM_16"))
    except (soundfile.LibsndfileError, OSError, ValueError, TypeError) as exc:
        raise AudioFileError(
            f"{path}: can't be written ({reason_of(exc)}); check the folder, the disk and the format."
        ) from exc


def encoded(samples: NDArray[np.generic], rate_hz: int, kind: str, *, subtype: str = "PCM_16") -> bytes:
    """The bytes of a file of `kind` (wav, flac) that holds `[T]` or `[T, C]`. Raises libsndfile's own errors."""
    if subtype == "PCM_16" and samples.dtype != np.int16:
        samples = to_pcm(samples.astype(np.float32))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=kind.upper(), subtype=subtype)
    return buffer.getvalue()


def sounds_in(folder: Path) -> list[Path]:
    """The audio files directly in a folder, sorted; subfolders are not searched."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in AUDIO_SUFFIXES)


def printable(text: str) -> str:
    """Text that UTF-8 can encode: undecodable bytes of a file name are shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_text(name: str) -> bool:
    """Whether a file name can be encoded as UTF-8, which reports and stored answers need."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_no_length(path: Path, samples: int) -> None:
    if samples >= NO_LENGTH:
        raise AudioFileError(f"{path}: does not state its length; write it again to a file instead of through a pipe.")


def _unreadable(path: Path, exc: Exception) -> str:
    if not path.exists():
        return f"{path}: no such file; check the path."
    return f"{path}: can't be read as audio ({reason_of(exc)}); expected a wav or flac file."


def reason_of(exc: Exception) -> str:
    """The reason given by the system or libsndfile, without the path, for use in parentheses."""
    reason = getattr(exc, "strerror", None) or getattr(exc, "error_string", None) or exc
    return str(reason).removeprefix("Error : ").rstrip(".")


def name_for_libsndfile(path: Path) -> str | bytes:
    """The name to pass to libsndfile: bytes where file names are bytes, because some are not valid text."""
    return str(path) if sys.platform == "win32" else os.fsencode(path)
