"""Detects truncated files: libsndfile reads what is left of one and reports nothing.

Only the audio counts: in a chunked file, the chunk that holds it; not the size at the start of the file, which some
writers set slightly wrong, and not what follows the audio.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO

from timbre_restore.errors import AudioFileError

PLACEHOLDERS = (range(0x7FFF_E000, 0x8000_0001), range(0xFFFF_0000, 0x1_0000_0000))
"""32-bit sizes that writers leave when they do not know the length: sox and arecord, and ffmpeg. Between them lie the
true sizes of files of 2 to 4 GiB."""
LARGEST_LONG = 1 << 62
"""Larger 64-bit sizes are meaningless."""
_OGG_PAGE = 27  # bytes of a page header
_OGG_BEGIN, _OGG_END = 2, 4  # flags of a stream's first and last page
_OGG_LARGEST_PAGE = 65_307
_HEAD = 40  # bytes, enough to recognise most containers
_AVR_HEAD, _NIST_LARGEST = 128, 1 << 16
_VOC_SOUNDS = (1, 9)
_NIST_FIELD = re.compile(rb"^(channel_count|sample_count|sample_n_bytes) -i (\d+)", re.MULTILINE)


def is_placeholder(size: int) -> bool:
    """Whether a 32-bit size stands for a length that its writer did not know."""
    return any(size in sizes for sizes in PLACEHOLDERS)


def check_whole(path: Path) -> None:
    """Raise `AudioFileError` for a file that is shorter than its headers say, or has no end marker.

    WAV, RF64, W64, AIFF, 8SVX, CAF, AU, VOC, AVR, SPHERE and Ogg are known; other containers pass.
    """
    try:
        found = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
            promised = _promised(stream, head, found)
            stream.seek(max(0, found - _OGG_LARGEST_PAGE))
            tail = stream.read() if head[:4] == b"OggS" else b""
    except OSError as exc:
        raise AudioFileError(f"{path}: can't be read ({exc.strerror}); check its permissions.") from exc
    if tail and not _ogg_ends(tail):
        raise AudioFileError(f"{path}: is cut off: its last page is missing; copy the file again.")
    if promised > found:
        raise AudioFileError(f"{path}: is cut off after {found} of {promised} bytes; copy the file again.")


def _promised(stream: BinaryIO, head: bytes, found: int) -> int:
    """The minimum length in bytes that a file's headers imply; 0 if they imply none."""
    kind = head[:4]
    if kind in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _chunks_end(stream, 12, "<4sI", b"data", found)
    if kind == b"FORM":
        return _chunks_end(stream, 12, ">4sI", b"BODY" if head[8:12] in (b"8SVX", b"16SV") else b"SSND", found)
    if kind == b"caff":
        return _chunks_end(stream, 8, ">4sQ", b"data", found)
    if head.startswith(b"Creative Voice File"):
        return _voc_end(stream, head)
    if kind == b"NIST":
        return _nist_end(stream)
    return _head_end(stream, head) if len(head) == _HEAD else 0


def _chunks_end(stream: BinaryIO, at: int, form: str, sound: bytes, found: int) -> int:
    """Where the audio chunk ends, or an incomplete chunk before it. RF64 stores the size in `ds64`."""
    long_size, width = 0, struct.calcsize(form)
    while at + width <= found:
        stream.seek(at)
        kind, size = struct.unpack(form, stream.read(width))
        if kind == b"ds64":
            long_size = struct.unpack("<Q", stream.read(16).ljust(16, b"\0")[8:])[0]
        if kind == sound and size == 0xFFFF_FFFF and 0 < long_size <= LARGEST_LONG:
            return int(at + width + long_size)
        unknown = size > LARGEST_LONG if form.endswith("Q") else is_placeholder(size)
        end = at + width + size
        if kind == sound or end > found:
            return 0 if unknown else end
        at = end if form.endswith("Q") else end + size % 2
    return 0


def _head_end(stream: BinaryIO, head: bytes) -> int:
    """The same for AU, W64 and AVR, which state it in the header."""
    if head[:4] == b".snd":
        start, size = struct.unpack_from(">II", head, 4)
        return 0 if is_placeholder(size) else int(start + size)
    if head[:4] == b"riff":
        size = struct.unpack_from("<Q", head, 16)[0]
        return int(size) if size <= LARGEST_LONG else 0
    if head[:4] == b"2BIT":
        stereo, bits, frames = struct.unpack_from(">HH10xI", head, 12)
        return int(_AVR_HEAD + frames * (2 if stereo else 1) * (bits // 8))
    return 0


def _voc_end(stream: BinaryIO, head: bytes) -> int:
    """Where the first audio block ends; block sizes have 24 bits, so larger files state one that is too small."""
    at = int.from_bytes(head[20:22], "little")
    while True:
        stream.seek(at)
        block = stream.read(4)
        if len(block) < 4 or block[0] == 0:
            return 0
        at += 4 + int.from_bytes(block[1:], "little")
        if block[0] in _VOC_SOUNDS:
            return at


def _nist_end(stream: BinaryIO) -> int:
    """The length of header plus samples, from the header's fields; unknown for compressed samples."""
    stream.seek(0)
    text = stream.read(_NIST_LARGEST)
    lines = text.split(b"\n", 2)
    if len(lines) < 3 or not lines[1].strip().isdigit():
        return 0
    start = int(lines[1])
    said = {name: int(number) for name, number in _NIST_FIELD.findall(text[:start])}
    if b"embedded" in text[:start] or b"sample_count" not in said:
        return 0
    return start + said[b"sample_count"] * said.get(b"channel_count", 1) * said.get(b"sample_n_bytes", 1)


def is_chained(path: Path) -> bool:
    """Whether an Ogg file is chained (RFC 3533 §4): it has a first page after a page that is not a first one."""
    begun, at = False, 0
    with path.open("rb") as stream:
        while (head := stream.read(_OGG_PAGE)).startswith(b"OggS") and len(head) == _OGG_PAGE:
            if head[5] & _OGG_BEGIN and begun:
                return True
            begun = begun or not head[5] & _OGG_BEGIN
            at += _OGG_PAGE + head[26] + sum(stream.read(head[26]))
            stream.seek(at)
    return False


def _ogg_ends(tail: bytes) -> bool:
    """Whether the last page is marked as the stream's last and is complete."""
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < _OGG_PAGE or len(page) < _OGG_PAGE + page[26]:
        return False
    length = _OGG_PAGE + page[26] + sum(page[_OGG_PAGE : _OGG_PAGE + page[26]])
    return bool(page[5] & _OGG_END) and len(page) >= length
