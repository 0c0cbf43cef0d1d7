"""Items inside large files: raw 16-bit mono samples at 48 kHz, little-endian, many items one after another.

A list names such an item as `FILE.pcm@OFFSET`, the offset counted in samples. So a list is the index, and the line
still is 'degraded|clean'. One item is degraded, clean and noisy, in this order and without a gap.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.errors import AudioFileError

PACKED_SUFFIX = ".pcm"
_NAME = re.compile(r"(?P<file>.+\.pcm)@(?P<offset>\d+)", re.DOTALL)
_OPEN_FILES = 64  # maps kept open by a process; a corpus of a thousand hours has about so many files


def packed_name(file: Path, offset: int) -> Path:
    """How a list names what begins at sample `offset` of `file`."""
    return file.with_name(f"{file.name}@{offset}")


def locate_packed(path: Path) -> tuple[Path, int] | None:
    """File and offset that a listed path names, or None when it is a file of its own."""
    match = _NAME.fullmatch(str(path))
    return (Path(match["file"]), int(match["offset"])) if match else None


def read_packed(path: Path, samples: int) -> NDArray[np.int16]:
    """`[samples]` from where the listed path points; a copy. Raises `AudioFileError` when they are not there."""
    place = locate_packed(path)
    if place is None:
        raise AudioFileError(f"{path}: names no packed item; expected FILE.pcm@OFFSET.")
    file, offset = place
    try:
        mapped = _mapped(file, file.stat().st_mtime_ns)
    except (OSError, ValueError) as exc:
        raise AudioFileError(f"{file}: can't be read ({getattr(exc, 'strerror', None) or exc}).") from exc
    if offset + samples > len(mapped):
        raise AudioFileError(f"{file}: ends at sample {len(mapped)}, before the {offset + samples} that {path} needs.")
    return np.array(mapped[offset : offset + samples])


@lru_cache(maxsize=_OPEN_FILES)
def _mapped(file: Path, changed_ns: int) -> NDArray[np.int16]:
    """The whole file, mapped; its time of change is part of the key, so a file made anew is opened anew."""
    return np.memmap(file, dtype="<i2", mode="r")
