"""The length of MPEG audio whose own header does not state it, or states only that of its first part.

libmpg123, with which libsndfile reads such files, trusts the frame count in a Xing header. Without one it assumes that
all frames are as large as the first and that tags are audio, and reads no further than the resulting length: a fifth of
a variable-rate file that begins loud. Files without one come from streams and dictaphones; a file joined from two
states the length of the first.
"""

from __future__ import annotations

import io
import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_KBITS = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By (1 for MPEG 1, 2 for 2 and 2.5; layer) and the header's index (ISO 11172-3 §2.4.2.3, ISO 13818-3 §2.4.2.3);
layer III of MPEG 2 uses those of layer II."""
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the header's version: 3 is MPEG 1, 2 MPEG 2, 0 MPEG 2.5."""
_HEAD = 4
_ID3_HEAD, _ID3V1 = 10, 128
_LIKE_A_HEAD = re.compile(rb"\xff[\xe2-\xe7\xf2-\xff][^\xf0-\xff]")
"""Eleven sync bits, a valid layer and a valid bit rate."""
_SEARCHED = 1 << 16
"""Bytes searched at once for the next frame."""
_MONO = 3
_LIKE_ONE_ANOTHER = 3
"""Consecutive frames of another kind that count as audio; fewer may be junk."""
_VBRI_AT = 36
_ROOMY_KBITS = 5
"""Index of a bit rate at which every frame has room for a Xing header: 64 kbit/s in MPEG 1, 40 in the others."""


@dataclass(frozen=True)
class _Frame:
    """A frame at byte `at`: its size in bytes, and its number of samples."""

    at: int
    size: int
    samples: int
    layer: int
    kind: int
    """The header bits that frames of one kind share: version, layer, rate, and whether it is mono."""


@dataclass(frozen=True)
class Frames:
    """The audio frames of a file, from byte `start` on, and how many of them its header promises."""

    start: int
    count: int
    samples: int
    layer: int
    promised: int | None
    mixed: bool
    """Whether frames of another kind follow: of another sample rate, or mono after stereo."""

    @property
    def tells(self) -> bool:
        """Whether the header counts all frames; some writers include the frame that holds it, some don't."""
        return self.promised is not None and self.promised >= self.count - 1


def frames_of(path: Path) -> Frames | None:
    """The frames of an MPEG file; None if none can be recognised."""
    with path.open("rb") as stream:
        frames = _walk(stream)
        first = next(frames, None)
        if first is None:
            return None
        stream.seek(first.at)
        kind, promised = _told(stream.read(first.size))
        if kind and (first := next(frames, None)) is None:
            return None
        kinds = Counter(frame.kind for frame in frames)
        count = 1 + kinds.pop(first.kind, 0)
        return Frames(first.at, count, first.samples, first.layer, promised, mixed=bool(kinds))


class Told(io.RawIOBase):
    """A file with its frame count stated: unchanged, except that a new header replaces what precedes the frames."""

    def __init__(self, path: Path, frames: Frames) -> None:
        super().__init__()
        self._stream = path.open("rb")
        self._stream.seek(frames.start)
        self._head, self._start = _xing(self._stream.read(_HEAD), frames.count), frames.start
        self._size = len(self._head) + path.stat().st_size - frames.start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read what is available, up to the end of the new header or of the file."""
        content = self._head[self._at : self._at + len(buffer)]
        if not content:
            self._stream.seek(self._start + self._at - len(self._head))
            content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _walk(stream: BinaryIO) -> Iterator[_Frame]:
    """Every complete frame of the same kind as the first. Tags and junk may come between frames."""
    at, last, size = 0, None, stream.seek(0, io.SEEK_END)
    while at + _HEAD <= size:
        stream.seek(at)
        head = stream.read(_ID3_HEAD)
        frame = _frame(head, at)
        if head[:3] == b"ID3":
            at += _id3_size(head)
        elif head[:3] == b"TAG":
            at += _ID3V1
        elif frame and _belongs(stream, frame, last):
            last = frame
            at += frame.size
            if at <= size:
                yield frame
        else:
            stream.seek(at + 1)
            found = _LIKE_A_HEAD.search(stream.read(_SEARCHED + _HEAD))
            at += 1 + (found.start() if found else _SEARCHED)


def _belongs(stream: BinaryIO, frame: _Frame, last: _Frame | None) -> bool:
    """Whether a frame continues the stream; unless it directly follows the last one, more frames or an end must follow.

    The eleven sync bits alone may occur anywhere.
    """
    if last is not None and frame.kind != last.kind:
        return _followed(stream, frame, _LIKE_ONE_ANOTHER)
    if last is not None and frame.at == last.at + last.size:
        return True
    stream.seek(frame.at + frame.size)
    head = stream.read(_HEAD)
    return len(head) < _HEAD or head[:3] in (b"ID3", b"TAG") or _followed(stream, frame, 1)


def _followed(stream: BinaryIO, frame: _Frame, times: int) -> bool:
    """Whether `times` frames of the same kind follow it directly."""
    at = frame.at + frame.size
    for _ in range(times):
        stream.seek(at)
        after = _frame(stream.read(_HEAD), at)
        if after is None or after.kind != frame.kind:
            return False
        at += after.size
    return True


def _frame(head: bytes, at: int) -> _Frame | None:
    """Parse a frame header; None if it is not one, or does not state the size (free format)."""
    if len(head) < _HEAD or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbits, rate, padded = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    first = version == 3
    bits = 1000 * _KBITS[1 if first else 2, min(layer, 3 if first else 2) if layer > 1 else 1][kbits]
    rate_hz = _RATES_HZ[version][rate]
    if layer == 1:
        samples, size = 384, (12 * bits // rate_hz + padded) * 4
    else:
        samples = 1152 if first or layer == 2 else 576
        size = samples // 8 * bits // rate_hz + padded
    mono = head[3] >> 6 == _MONO
    return _Frame(at, size, samples, layer, head[1] & 0xFE | (head[2] & 0x0C) << 8 | mono << 16)


def _side_size(head: bytes) -> int:
    """Size in bytes of layer III's side information, which precedes a Xing header."""
    mono = head[3] >> 6 == _MONO
    return (17 if mono else 32) if head[1] >> 3 & 3 == 3 else (9 if mono else 17)


def _told(frame: bytes) -> tuple[bytes, int | None]:
    """The header that a frame holds instead of audio (empty if none), and its frame count; libmpg123 knows Xing's.

    (Xing's variable bit rate header, LAME's `Info`, Fraunhofer's `VBRI`.)
    """
    at = _HEAD + _side_size(frame)
    if frame[at : at + 4] in (b"Xing", b"Info") and len(frame) >= at + 12:
        flags, count = struct.unpack_from(">II", frame, at + 4)
        return frame[at : at + 4], count if flags & 1 else None
    return (b"VBRI", None) if frame[_VBRI_AT : _VBRI_AT + 4] == b"VBRI" else (b"", None)


def _xing(head: bytes, count: int) -> bytes:
    """A layer III frame without audio that states the number of frames that follow."""
    own = bytes([head[0], head[1] | 1, _ROOMY_KBITS << 4 | head[2] & 0x0D, head[3]])
    frame = _frame(own, 0)
    assert frame is not None
    return (own + bytes(_side_size(own)) + b"Xing" + struct.pack(">II", 1, count)).ljust(frame.size, b"\0")


def _id3_size(head: bytes) -> int:
    """Size of a leading tag: four times seven bits (ID3v2.4 §3.1), plus a footer if the flags say so."""
    size = 0
    for octet in head[6:10]:
        size = size << 7 | octet & 0x7F
    return _ID3_HEAD + size + (_ID3_HEAD if head[5] & 0x10 else 0)
