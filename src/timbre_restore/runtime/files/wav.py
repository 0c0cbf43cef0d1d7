"""WAV without seeking: what programs send through pipes, and how they mark an unknown length.

libsndfile needs files that it can seek in. Chunks: Microsoft RIFF (1991); RF64 and `ds64`: EBU Tech 3306. Samples are
read as float32 `[T, C]` in ±1, and written from integers left-aligned in 32 bits, or from floats.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio.whole import LARGEST_LONG, PLACEHOLDERS, is_placeholder
from timbre_restore.errors import AudioFileError

LARGEST_SIZE = 0xFFFF_FFFF - 1_000_000
"""Bytes of samples that a 32-bit header can state, with room for everything else in the file."""
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_SUBTYPES = {
    (_PCM, 8): "PCM_U8", (_PCM, 16): "PCM_16", (_PCM, 24): "PCM_24", (_PCM, 32): "PCM_32",
    (_FLOAT, 32): "FLOAT", (_FLOAT, 64): "DOUBLE",
}  # fmt: skip
_BITS = {subtype: bits for (_, bits), subtype in _SUBTYPES.items()}
_INFO = {
    b"INAM": "title", b"IART": "artist", b"IPRD": "album", b"ICRD": "date", b"ICMT": "comment", b"ICOP": "copyright",
    b"IGNR": "genre", b"ISFT": "software", b"ITRK": "tracknumber", b"IPRT": "tracknumber",
}  # fmt: skip
_LARGEST_CHUNK = 1 << 24  # kept in memory of a chunk before the samples: enough for tags, not for pictures


class Readable(Protocol):
    """A byte stream; it may return fewer bytes than requested, and returns none at the end."""

    def read(self, size: int, /) -> bytes | None:
        """Up to `size` bytes."""
        ...


@dataclass(frozen=True)
class Header:
    """The contents of a WAV header."""

    sample_rate_hz: int
    channels: int
    subtype: str
    samples: int | None
    """Per channel; None when the writer did not know it."""
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * _BITS[self.subtype] // 8


def exactly(stream: Readable, size: int) -> bytes:
    """The next `size` bytes, or fewer if the stream ends."""
    parts, missing = [], size
    while missing and (part := stream.read(min(missing, 1 << 20))):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def read_header(stream: Readable, name: str) -> Header:
    """Read up to the first sample. Raises `AudioFileError` if it is not WAV, or its sample format is not supported."""
    head = exactly(stream, 12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
        found = f"begins with {head[:4]!r}" if head else "is empty"
        raise AudioFileError(f"{name}: {found}; expected WAV. For headerless samples, give their format with --raw.")
    shape: tuple[int, int, str] | None = None
    long_size, tags, at = 0, dict[str, str](), len(head)
    while True:
        kind, size = _chunk_head(stream, name)
        at += 8
        if kind == b"data":
            break
        body = _chunk_body(stream, size, name)
        at += size + size % 2
        if kind == b"ds64":
            long_size = struct.unpack_from("<Q", body.ljust(16, b"\0"), 8)[0]
        elif kind == b"fmt ":
            shape = _shape(body, name)
        elif kind == b"LIST" and body[:4] == b"INFO":
            tags |= _tags(body[4:])
    if shape is None:
        raise AudioFileError(f"{name}: its samples come before their format chunk; write it again as WAV.")
    rate, channels, subtype = shape
    header = Header(rate, channels, subtype, None, tags)
    if size == 0xFFFF_FFFF and 0 < long_size <= LARGEST_LONG:
        size = long_size
    elif is_placeholder(size) or (size == 0 and not _goes_on(head, at)):
        return header
    return Header(rate, channels, subtype, size // header.frame_bytes, tags)


def outgrew(path: Path) -> bool:
    """Whether a WAV of unknown length is longer than its placeholder size, up to which libsndfile would read it."""
    if path.stat().st_size < PLACEHOLDERS[0].start:
        return False
    try:
        with path.open("rb", buffering=0) as stream:
            return read_header(stream, str(path)).samples is None
    except AudioFileError:  # uses a codec that is not supported here
        return False


def _goes_on(head: bytes, at: int) -> bool:
    """Whether more chunks follow, judging by the size at the start of the file.

    If so, a data size of 0 really means no samples. A writer that can't seek leaves a size that covers only the header,
    or none.
    """
    size = int(struct.unpack_from("<I", head, 4)[0])
    return at < size + 8 and not is_placeholder(size)


def _chunk_head(stream: Readable, name: str) -> tuple[bytes, int]:
    head = exactly(stream, 8)
    if len(head) < 8:
        raise _too_short(name)
    kind, size = struct.unpack("<4sI", head)
    return kind, size


def _chunk_body(stream: Readable, size: int, name: str) -> bytes:
    """A chunk other than the samples; what exceeds the limit is skipped."""
    padded = size + size % 2
    body = exactly(stream, min(padded, _LARGEST_CHUNK))
    if len(body) < min(padded, _LARGEST_CHUNK):
        raise _too_short(name)
    for start in range(len(body), padded, _LARGEST_CHUNK):
        exactly(stream, min(_LARGEST_CHUNK, padded - start))
    return body[:size]


def _too_short(name: str) -> AudioFileError:
    return AudioFileError(f"{name}: ends before its first sample; send it again.")


def _shape(body: bytes, name: str) -> tuple[int, int, str]:
    code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body.ljust(26, b"\0"))
    if code == _EXTENSIBLE:
        code = struct.unpack_from("<H", body.ljust(26, b"\0"), 24)[0]
    if (code, bits) not in _SUBTYPES or not channels or not rate:
        raise AudioFileError(
            f"{name}: holds samples of format {code} with {bits} bits, {channels} channels at {rate} Hz; expected "
            "integers of 8 to 32 bits or floats of 32 or 64 bits."
        )
    return rate, channels, _SUBTYPES[code, bits]


def _tags(body: bytes) -> dict[str, str]:
    found, at = {}, 0
    while at + 8 <= len(body):
        kind, size = struct.unpack_from("<4sI", body, at)
        text = _text(body[at + 8 : at + 8 + size].split(b"\0")[0])
        if kind in _INFO and text:
            found[_INFO[kind]] = text
        at += 8 + size + size % 2
    return found


def _text(content: bytes) -> str:
    """Decode as UTF-8, or else as the older Windows code page."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="ignore")


def blocks(
    stream: Readable, header: Header, name: str, largest: int, *, full: bool
) -> Generator[NDArray[np.float32], None, int]:
    """The samples, at most `largest` at a time; `full` waits for that many, otherwise whatever has arrived is yielded.

    If the length is not known, the bytes of an incomplete last sample are dropped, because a recording may end
    anywhere, and their number is returned. Raises `AudioFileError` when fewer samples come than the header promises.
    """
    frame = header.frame_bytes
    held, taken = b"", 0
    while header.samples is None or taken < header.samples:
        most = largest if header.samples is None else min(largest, header.samples - taken)
        missing = most * frame - len(held)
        more = exactly(stream, missing) if full else stream.read(missing)
        if not more:
            break
        held += more
        whole = len(held) // frame
        if whole:
            yield decode(held[: whole * frame], header)
        held = held[whole * frame :]
        taken += whole
    if header.samples is not None and taken < header.samples:
        raise AudioFileError(
            f"{name}: is cut off after {taken} of {header.samples} samples; send it again, or check its format."
        )
    while header.samples is not None and stream.read(1 << 16):  # drain trailing chunks: their writer must not fail
        pass
    return len(held)


def decode(content: bytes, header: Header) -> NDArray[np.float32]:
    """Decode bytes into samples `[T, C]`."""
    subtype = header.subtype
    if subtype == "PCM_24":
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        flat = wide.view("<i4")[:, 0] * np.float32(2.0**-31)
    elif subtype == "PCM_U8":
        flat = (np.frombuffer(content, np.uint8).astype(np.float32) - 128.0) / np.float32(128.0)
    elif subtype in ("PCM_16", "PCM_32"):
        kind, scale = ("<i2", 2.0**-15) if subtype == "PCM_16" else ("<i4", 2.0**-31)
        flat = np.frombuffer(content, kind) * np.float32(scale)
    else:
        flat = np.frombuffer(content, "<f4" if subtype == "FLOAT" else "<f8")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, which the caller treats as invalid
        return flat.astype(np.float32).reshape(-1, header.channels)


def encode(samples: NDArray[np.int32] | NDArray[np.float32], subtype: str) -> bytes:
    """Encode `[T, C]` as bytes: integers left-aligned in 32 bits, or floats."""
    if subtype == "PCM_24":
        octets: bytes = samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
        return octets
    if subtype == "PCM_U8":
        return ((samples.astype(np.int64) >> 24) + 128).astype(np.uint8).tobytes()
    if subtype == "PCM_16":
        return (samples.astype(np.int64) >> 16).astype("<i2").tobytes()
    return samples.astype({"PCM_32": "<i4", "FLOAT": "<f4", "DOUBLE": "<f8"}[subtype]).tobytes()


def header_bytes(header: Header) -> bytes:
    """The header of a WAV in a pipe; an unknown length is written as ffmpeg writes it."""
    code = _FLOAT if header.subtype in ("FLOAT", "DOUBLE") else _PCM
    bits, frame = _BITS[header.subtype], header.frame_bytes
    info = _info_bytes(header.tags)
    size = 0xFFFF_FFFF if header.samples is None else header.samples * frame
    known = size <= LARGEST_SIZE and size % 2 == 0  # an odd length would need a padding byte
    shape = struct.pack(
        "<HHIIHH", code, header.channels, header.sample_rate_hz, frame * header.sample_rate_hz, frame, bits
    )
    riff = 4 + 8 + len(shape) + len(info) + 8 + size if known else 0xFFFF_FFFF
    start = struct.pack("<4sI4s4sI", b"RIFF", riff, b"WAVE", b"fmt ", len(shape)) + shape + info
    return start + struct.pack("<4sI", b"data", size if known else 0xFFFF_FFFF)


def _info_bytes(tags: dict[str, str]) -> bytes:
    body = b"INFO"
    for kind, name in _INFO.items():
        if name in tags and kind != b"IPRT":
            text = tags[name].encode() + b"\0"
            body += struct.pack("<4sI", kind, len(text)) + text + b"\0" * (len(text) % 2)
    return struct.pack("<4sI", b"LIST", len(body)) + body if len(body) > 4 else b""
