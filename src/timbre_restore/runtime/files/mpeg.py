"""How long an MPEG sound is, where its own header does not say so, or only of its beginning.

libmpg123, by which libsndfile reads such files, believes the count of frames in a Xing header. Without one it takes all
frames for as large as the first, tags for sound, and reads no further than that: of a variable rate that begins loud a
fifth. Files without one come from streams and dictaphones; one that was joined from two says how long the first was.
"""

from __future__ import annotations

import io
import re
import struct
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
"""By (1 for MPEG 1, 2 for 2 and 2.5; layer) and the header's number (ISO 11172-3 §2.4.2.3, ISO 13818-3 §2.4.2.3);
layer III of MPEG 2 has those of layer II."""
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the header's version: 3 is MPEG 1, 2 MPEG 2, 0 MPEG 2.5."""
_HEAD = 4
_ID3_HEAD, _ID3V1 = 10, 128
_LIKE_A_HEAD = re.compile(rb"\xff[\xe2-\xe7\xf2-\xff][^\xf0-\xff]")
"""Eleven bits, a layer, and no bit rate that there is not."""
_SEARCHED = 1 << 16
"""Bytes that are searched at once for the next frame."""
_MONO = 3
_VBRI_AT = 36
_ROOMY_KBITS = 5
"""The number of a bit rate at which every frame holds a Xing header: 64 kbit/s of MPEG 1, 40 of the others."""


@dataclass(frozen=True)
class _Frame:
    """A frame at byte `at`: how many it has, and how many samples."""

    at: int
    size: int
    samples: int
    layer: int
    kind: int
    """What all frames of a sound share: version, layer and rate, as they stand in the header."""


@dataclass(frozen=True)
class Frames:
    """What a file holds: its frames of sound, from byte `start` on, and how many of them its header speaks of."""

    start: int
    count: int
    samples: int
    layer: int
    promised: int | None

    @property
    def tells(self) -> bool:
        """Whether its header speaks of all of them; writers count the frame that holds it, or don't."""
        return self.promised is not None and self.promised >= self.count - 1


def frames_of(path: Path) -> Frames | None:
    """The frames of an MPEG sound; None where there is none that can be told."""
    with path.open("rb") as stream:
        frames = _walk(stream)
        first = next(frames, None)
        if first is None:
            return None
        stream.seek(first.at)
        kind, promised = _told(stream.read(first.size))
        if kind and (first := next(frames, None)) is None:
            return None
        return Frames(first.at, 1 + sum(1 for _ in frames), first.samples, first.layer, promised)


class Told(io.RawIOBase):
    """A file whose sound says how many frames it has: as it is, but for what stands before its first frame."""

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
        """As many bytes as there are, up to the end of the head or of the file."""
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
    """Every whole frame of the kind of the first one. Between them tags may stand, and what is no frame."""
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
    """Whether a frame is of the kind of the one before; if none is right before it, another one or an end must follow.

    Eleven bits alone occur anywhere.
    """
    if last is not None and frame.kind != last.kind:
        return False
    if last is not None and frame.at == last.at + last.size:
        return True
    stream.seek(frame.at + frame.size)
    head = stream.read(_HEAD)
    after = _frame(head, 0)
    return len(head) < _HEAD or head[:3] in (b"ID3", b"TAG") or (after is not None and after.kind == frame.kind)


def _frame(head: bytes, at: int) -> _Frame | None:
    """What a header says; None where it is none, or leaves the size open (free format)."""
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
    return _Frame(at, size, samples, layer, head[1] & 0xFE | (head[2] & 0x0C) << 8)


def _side_size(head: bytes) -> int:
    """Bytes of layer III's side information, behind which a Xing header stands."""
    mono = head[3] >> 6 == _MONO
    return (17 if mono else 32) if head[1] >> 3 & 3 == 3 else (9 if mono else 17)


def _told(frame: bytes) -> tuple[bytes, int | None]:
    """Which header a frame holds instead of sound, or none, and of how many frames that speaks; libmpg123 knows Xing's.

    (Xing's variable bit rate header, LAME's `Info`, Fraunhofer's `VBRI`.)
    """
    at = _HEAD + _side_size(frame)
    if frame[at : at + 4] in (b"Xing", b"Info") and len(frame) >= at + 12:
        flags, count = struct.unpack_from(">II", frame, at + 4)
        return frame[at : at + 4], count if flags & 1 else None
    return (b"VBRI", None) if frame[_VBRI_AT : _VBRI_AT + 4] == b"VBRI" else (b"", None)


def _xing(head: bytes, count: int) -> bytes:
    """A frame without sound for what follows, of layer III, with the number of frames that follow."""
    own = bytes([head[0], head[1] | 1, _ROOMY_KBITS << 4 | head[2] & 0x0D, head[3]])
    frame = _frame(own, 0)
    assert frame is not None
    return (own + bytes(_side_size(own)) + b"Xing" + struct.pack(">II", 1, count)).ljust(frame.size, b"\0")


def _id3_size(head: bytes) -> int:
    """Of a tag in front: four times seven bits (ID3v2.4 §3.1), and a foot where the flags say so."""
    size = 0
    for octet in head[6:10]:
        size = size << 7 | octet & 0x7F
    return _ID3_HEAD + size + (_ID3_HEAD if head[5] & 0x10 else 0)
