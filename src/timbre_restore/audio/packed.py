"""Items inside large files: raw 16-bit mono samples at 48 kHz, little-endian, many items one after another.

A list names such an item as `FILE.pcm@OFFSET`, the offset counted in samples. So a list is the index, and the line
still is 'degraded|clean'. One item is degraded, clean, noisy and hints, in this order and without a gap; hints are
float16, so that each value takes the room of a sample, and NaN throughout where the suppressor gave none.

Files are opened for every read and never mapped: a mapped file that is cut short by somebody else, or lies on a disk
that fails, ends the process without a word.
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
"""A stored noisy side goes on for so long: what DeepFilterNet3 has heard when it hands over the item's last sample."""
HINT_VALUES = 32 + 1 + 2 * 96
"""Stored per hop: gains of 32 ERB bands, local SNR in dB, real and imaginary parts of 96 low bins in turn."""
SAMPLE_BYTES = 2
_NAME = re.compile(r"(?P<file>.+\.pcm)@(?P<offset>\d+)", re.DOTALL)


def packed_name(file: Path, offset: int) -> Path:
    """How a list names what begins at sample `offset` of `file`."""
    return file.with_name(f"{file.name}@{offset}")


def locate_packed(path: Path) -> tuple[Path, int] | None:
    """File and offset that a listed path names, or None when it is a file of its own."""
    match = _NAME.fullmatch(str(path))
    return (Path(match["file"]), int(match["offset"])) if match else None


def packed_stride(segment: int, hop: int) -> int:
    """Samples from one item of a packed file to the next."""
    return 3 * segment + LEAD_SAMPLES + segment // hop * HINT_VALUES


def packed_segment(degraded: Path, clean: Path) -> int | None:
    """Samples of the item that two listed paths name: clean begins where degraded ends. None for files of their own.

    Raises `AudioFileError` when the two are not one item of one packed file.
    """
    first, second = locate_packed(degraded), locate_packed(clean)
    if first is None and second is None:
        return None
    if first is None or second is None or first[0] != second[0] or first[1] >= second[1]:
        raise AudioFileError(f"{degraded} and {clean} are no item; expected clean behind degraded in one packed file.")
    return second[1] - first[1]


def read_packed(path: Path, samples: int) -> NDArray[np.int16]:
    """`[samples]` from where the listed path points. Raises `AudioFileError` when they are not there."""
    into = np.empty(samples, dtype=np.int16)
    read_packed_into(path, into)
    return into


def read_packed_into(path: Path, into: NDArray[np.int16]) -> None:
    """Fill contiguous `into` from where the listed path points. Raises `AudioFileError` when that is not there."""
    place = locate_packed(path)
    if place is None:
        raise AudioFileError(f"{path}: names no packed item; expected FILE.pcm@OFFSET.")
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
    """Read samples into contiguous `into`, as far as they go; returns the bytes read."""
    view = memoryview(into.data).cast("B")
    found = 0
    # A network disk may give less than was asked for without being at the end.
    while found < len(view) and (more := stream.readinto(view[found:])):
        found += more
    return found
