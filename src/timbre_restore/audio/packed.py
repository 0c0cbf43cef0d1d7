"""Items in large packed files: raw 16-bit mono samples at 48 kHz, little-endian, many items one after another.

A list names such an item as `FILE.pcm@OFFSET`, with the offset in samples. So the list is the index, and its lines
are still 'degraded|clean'. An item holds degraded, clean, noisy and hints, in this order and without gaps; hints are
float16, so that a value takes as much space as a sample, and all NaN if the suppressor gave none.

Files are opened for every read and never memory-mapped: if a mapped file is truncated by another process, or its disk
fails, the process dies without an error message.
"""

from __future__ import annotations

import re
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.errors import AudioFileError

PACKED_SUFFIX = ".pcm"
LEAD_SAMPLES = 1440
"""The stored noisy side is this much longer: what DeepFilterNet3 has heard by the time it returns the last sample."""
HINT_VALUES = 32 + 1 + 2 * 96
"""Values per hop: gains of 32 ERB bands, local SNR in dB, interleaved real and imaginary parts of 96 low bins."""
SAMPLE_BYTES = 2
_NAME = re.compile(r"(?P<file>.+\.pcm)@(?P<offset>\d+)", re.DOTALL)


def packed_name(file: Path, offset: int) -> Path:
    """The name, in a list, of what begins at sample `offset` of `file`."""
    return file.with_name(f"{file.name}@{offset}")


def locate_packed(path: Path) -> tuple[Path, int] | None:
    """The file and offset that a listed path names, or None when it is a separate file."""
    match = _NAME.fullmatch(str(path))
    return (Path(match["file"]), int(match["offset"])) if match else None


def packed_stride(segment: int, hop: int) -> int:
    """Samples from the start of one item of a packed file to the start of the next."""
    return 3 * segment + LEAD_SAMPLES + segment // hop * HINT_VALUES


def packed_segment(degraded: Path, clean: Path) -> int | None:
    """Samples of the item named by two listed paths: clean begins where degraded ends. None for separate files.

    Raises `AudioFileError` when the two do not belong to one item of one packed file.
    """
    first, second = locate_packed(degraded), locate_packed(clean)
    if first is None and second is None:
        return None
    if first is None or second is None or first[0] != second[0] or first[1] >= second[1]:
        raise AudioFileError(f"{degraded} and {clean} form no item; expected clean after degraded in one packed file.")
    return second[1] - first[1]


def read_packed(path: Path, samples: int) -> NDArray[np.int16]:
    """`[samples]` from the position that the listed path names. Raises `AudioFileError` when they can't be read."""
    into = np.empty(samples, dtype=np.int16)
    read_packed_into(path, into)
    return into


def read_packed_into(path: Path, into: NDArray[np.int16]) -> None:
    """Fill contiguous `into` from the position the listed path names. Raises `AudioFileError` when it can't be read."""
    place = locate_packed(path)
    if place is None:
        raise AudioFileError(f"{path}: does not name a packed item; expected FILE.pcm@OFFSET.")
    file, offset = place
    try:
        with FileIO(file) as stream:
            stream.seek(SAMPLE_BYTES * offset)
            found = fill(stream, into)
            held = stream.seek(0, 2) // SAMPLE_BYTES
    except (OSError, OverflowError) as exc:
        raise AudioFileError(f"{file}: can't be read ({getattr(exc, 'strerror', None) or exc}).") from exc
    if found < SAMPLE_BYTES * len(into):
        raise AudioFileError(f"{file}: ends at sample {held}, before the {offset + len(into)} that {path} needs.")


def fill(stream: FileIO, into: NDArray[np.int16]) -> int:
    """Read samples into contiguous `into` until it is full or the file ends; returns the number of bytes read."""
    view = memoryview(into.data).cast("B")
    found = 0
    # A network disk may return less than requested before the end of the file.
    while found < len(view) and (more := stream.readinto(view[found:])):
        found += more
    return found
