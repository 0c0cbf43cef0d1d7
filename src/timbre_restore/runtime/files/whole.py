"""Whether a file is all there: libsndfile reads what is left of one that was cut off, and does not say so."""

from __future__ import annotations

import struct
from pathlib import Path

from timbre_restore.errors import AudioFileError

_OGG_PAGE, _OGG_END = 27, 4  # bytes of a page's head; the flag of a stream's last page
_OGG_LARGEST_PAGE = 65_307
_HEAD = 40  # bytes, of which all sizes can be told
_LARGEST_CLAIM = 0x7FFF_F000  # 32-bit sizes from here on are also what writers leave that don't know the length


def check_whole(path: Path) -> None:
    """Raise `AudioFileError` for a WAV, AIFF, AU, W64 or Ogg file that is shorter than it says, or has no end."""
    try:
        found = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
            stream.seek(max(0, found - _OGG_LARGEST_PAGE))
            tail = stream.read() if head[:4] == b"OggS" else b""
    except OSError as exc:
        raise AudioFileError(f"{path}: can't be read ({exc.strerror}); check its permissions.") from exc
    if tail and not _ogg_ends(tail):
        raise AudioFileError(f"{path}: is cut off: its last page is missing; copy the file again.")
    promised = _promised(head)
    if promised > found:
        raise AudioFileError(f"{path}: is cut off after {found} of {promised} bytes; copy the file again.")


def _promised(head: bytes) -> int:
    """The least length in bytes that a header speaks of; 0 where it does not."""
    kind, size = head[:4], 0
    if len(head) < _HEAD:
        return size
    if kind == b"RIFF" and head[8:12] == b"WAVE":
        size = struct.unpack_from("<I", head, 4)[0]
    elif kind == b"RF64" and head[12:16] == b"ds64":
        return int(struct.unpack_from("<Q", head, 20)[0]) + 8
    elif kind == b"FORM":
        size = struct.unpack_from(">I", head, 4)[0]
    elif kind == b".snd":
        start, size = struct.unpack_from(">II", head, 4)
        return start + size if size < _LARGEST_CLAIM else 0
    elif kind == b"riff":
        return int(struct.unpack_from("<Q", head, 16)[0])
    return size + 8 if 0 < size < _LARGEST_CLAIM else 0


def _ogg_ends(tail: bytes) -> bool:
    """Whether the last page is a stream's last, and whole."""
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < _OGG_PAGE or len(page) < _OGG_PAGE + page[26]:
        return False
    length = _OGG_PAGE + page[26] + sum(page[_OGG_PAGE : _OGG_PAGE + page[26]])
    return bool(page[5] & _OGG_END) and len(page) >= length
