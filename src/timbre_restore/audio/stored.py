"""Items as a corpus stores them: 16-bit mono at 48 kHz, in separate or packed files, read without conversion."""

from __future__ import annotations

import struct
from functools import lru_cache
from io import FileIO
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from timbre_restore.audio.files import SAMPLE_RATE_HZ, FloatArray, name_for_libsndfile
from timbre_restore.audio.packed import HINT_VALUES, SAMPLE_BYTES, fill, locate_packed, read_packed_into
from timbre_restore.audio.pcm import FULL_SCALE
from timbre_restore.errors import AudioFileError

STORED_SUBTYPE = "PCM_16"
_HEADER_BYTES = 44


def read_stored(path: Path, samples: int) -> FloatArray:
    """The `[samples]` of a listed path as float32 in ±1. Raises `AudioFileError` like `read_stored_into`."""
    into = np.empty(samples, dtype=np.int16)
    read_stored_into(path, into)
    return np.multiply(into, np.float32(1 / FULL_SCALE), dtype=np.float32)


def read_stored_into(path: Path, into: NDArray[np.int16]) -> None:
    """Fill contiguous `into` `[T]` with a listed path's samples: a packed item, a wav or a flac file.

    Raises `AudioFileError` if the file is missing, truncated, or of another length, rate, channel count or bit depth.
    """
    if locate_packed(path):
        read_packed_into(path, into)
    elif not _read_plain_wav(path, into):
        _read_any(path, into)


def read_hints_into(path: Path, into: NDArray[np.float16]) -> None:
    """Fill contiguous `into` `[hops, HINT_VALUES]` with an item's hints, or with NaN when it has none.

    Raises `AudioFileError` for a file that is truncated or of another shape.
    """
    if locate_packed(path):
        read_packed_into(path, into.reshape(-1).view(np.int16))
    elif not path.exists():
        into[:] = np.nan
    else:
        try:
            stored = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as exc:
            raise AudioFileError(f"{path}: can't be read ({exc}).") from exc
        if stored.shape != into.shape or stored.dtype != np.float16:
            raise AudioFileError(
                f"{path}: holds {stored.dtype} of shape {stored.shape}, expected float16 [{len(into)}, {HINT_VALUES}]."
            )
        into[:] = stored


def _read_plain_wav(path: Path, into: NDArray[np.int16]) -> bool:
    """Whether the file is, byte for byte, a minimal wav of exactly this many samples; only then is `into` filled.

    libsndfile takes three times as long to read the same header. Any other file is left to libsndfile.
    """
    if path.suffix != ".wav":
        return False
    try:
        with FileIO(path) as stream:
            return (
                stream.read(_HEADER_BYTES) == _plain_header(len(into))
                and fill(stream, into) == SAMPLE_BYTES * len(into)
                and not stream.read(1)
            )
    except OSError:
        return False


@lru_cache(maxsize=8)
def _plain_header(samples: int) -> bytes:
    """Header of a mono 16-bit wav file without extra chunks."""
    size = SAMPLE_BYTES * samples
    shape = (16, 1, 1, SAMPLE_RATE_HZ, SAMPLE_BYTES * SAMPLE_RATE_HZ, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    return struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", _HEADER_BYTES - 8 + size, b"WAVEfmt ", *shape, b"data", size)


def _read_any(path: Path, into: NDArray[np.int16]) -> None:
    try:
        with soundfile.SoundFile(name_for_libsndfile(path)) as file:
            rate, channels, promised, subtype = file.samplerate, file.channels, file.frames, file.subtype
            right = (rate, channels, promised, subtype) == (SAMPLE_RATE_HZ, 1, len(into), STORED_SUBTYPE)
            found = len(file.read(dtype="int16", out=into)) if right else promised
    except (soundfile.LibsndfileError, OSError) as exc:
        what = f"can't be read ({getattr(exc, 'error_string', exc)})" if path.exists() else "no such file"
        raise AudioFileError(f"{path}: {what}.") from exc
    if rate != SAMPLE_RATE_HZ or channels != 1:
        raise AudioFileError(f"{path}: has {channels} channels at {rate} Hz; expected 1 at {SAMPLE_RATE_HZ} Hz.")
    if promised != len(into) or found != len(into):
        raise AudioFileError(f"{path}: holds {found} samples, expected {len(into)}.")
    if subtype != STORED_SUBTYPE:
        raise AudioFileError(f"{path}: is stored as {subtype}; expected {STORED_SUBTYPE}, 16 bits per sample.")
