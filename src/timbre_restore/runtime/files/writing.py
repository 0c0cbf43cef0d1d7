"""Targets: files that are written completely or not at all, and standard output."""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import soundfile

from timbre_restore import atomic
from timbre_restore.audio.files import reason_of
from timbre_restore.errors import AudioFileError
from timbre_restore.runtime.files import wav
from timbre_restore.runtime.files.aside import Aside
from timbre_restore.runtime.files.finish import Finished
from timbre_restore.runtime.files.formats import (
    BITS,
    PIPE,
    RAW_FORMATS,
    STDOUT,
    WAVS,
    OutputFormat,
    able_subtypes,
    container_of,
    known_subtype,
    subtype_of,
)
from timbre_restore.runtime.files.limits import check_fits
from timbre_restore.runtime.files.reading import AudioSource

_SMALL = ("AIFF", "AU")
"""Containers limited to 32-bit sizes; for WAV there is RF64."""
_BYTES = {**{subtype: bits // 8 for subtype, bits in BITS.items()}, "FLOAT": 4, "DOUBLE": 8}
_PART = 1 << 16
"""Samples passed to libsndfile at once: libvorbis puts a copy of them on the stack, which 2.2 million overflow."""
_ASCII_TAGS = ("MP3",)
"""Containers in which libsndfile garbles non-ASCII tags."""


class Target(Protocol):
    """Where finished blocks go."""

    subtype: str

    def write(self, block: Finished) -> None:
        """The next samples `[T, C]`."""
        ...


@contextmanager
def open_target(path: Path, sound: AudioSource, wanted: OutputFormat) -> Iterator[Target]:
    """The target for a source's result, with the source's tags; the file appears when the block ends without an error.

    Raises `AudioFileError` if its name or format is not possible, or if it can't be written; `BrokenPipeError` when the
    reader of standard output goes away.
    """
    if path == PIPE:
        yield _pipe(sound, wanted)
        return
    if atomic.blocked(path):
        raise AudioFileError(f"{path}: exists but is not a regular file; give another output, or - for a pipe.")
    form = _form(path, sound, wanted)
    doubtful = f"{form.container} holds {sound.channels} channels at {sound.sample_rate_hz} Hz"
    with ExitStack() as stack:
        with _in_words(path, doubtful):
            temporary = stack.enter_context(atomic.replacing(path))
            disk = stack.enter_context(_Disk(temporary))
        aside = stack.enter_context(Aside())
        saying = partial(_in_words, path, doubtful, disk)
        with saying():
            make = partial(
                soundfile.SoundFile,
                disk, "w", sound.sample_rate_hz, sound.channels, form.subtype, format=form.container,
            )  # fmt: skip
            file = stack.enter_context(aside.opened(make, _close))
            _set_tags(file, sound.tags, form.container)
        yield _File(path, partial(aside, file.write), form, saying)
        with saying():
            aside(file.close)
            disk.close()
        with saying():
            if form.plain_if_small:
                make_plain(temporary)
            stack.close()


@contextmanager
def _in_words(path: Path, doubtful: str, disk: _Disk | None = None) -> Iterator[None]:
    """Turn write failures into a sentence. Wrap only code that writes: other errors are not the disk's."""
    try:
        yield
        if disk and disk.failure:
            raise disk.failure
    except (soundfile.LibsndfileError, OSError, ValueError, TypeError) as exc:
        reason = reason_of((disk and disk.failure) or exc)
        raise AudioFileError(
            f"{path}: can't be written ({reason}); check the folder, that the disk is not full, and that {doubtful}."
        ) from exc


class _Disk(io.FileIO):
    """A new file that remembers the first failed write.

    libsndfile's encoders (flac, ogg, opus, mp3) continue after one, or hit it while closing and report nothing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.failure: OSError | None = None

    def write(self, content: Any, /) -> int:
        """Write everything, or so the caller is told; after a failed write, nothing more is written."""
        rest = memoryview(content).cast("B")
        size = len(rest)
        try:
            while rest and self.failure is None:
                rest = rest[super().write(rest) :]
        except OSError as exc:
            self.failure = exc
        return size


def _close(file: soundfile.SoundFile) -> None:
    """Close after a failure, when further write errors do not matter; does nothing if already closed."""
    with suppress(soundfile.LibsndfileError):
        file.close()


@dataclass(frozen=True)
class _Form:
    """How a file is written. If the length is unknown, it starts as RF64 and becomes plain WAV if it stays small."""

    container: str
    subtype: str
    frame_bytes: int
    """0 if unknown because of compression."""
    plain_if_small: bool = False


def _form(path: Path, sound: AudioSource, wanted: OutputFormat) -> _Form:
    container = container_of(path, wanted)
    subtype = subtype_of(path, container, wanted, sound.container, sound.subtype)
    check_fits(path, container, subtype, sound.sample_rate_hz, sound.channels)
    frame_bytes = sound.channels * _BYTES.get(subtype, 0)
    if container in _SMALL and (sound.samples or 0) * frame_bytes > wav.LARGEST_SIZE:
        raise _too_large(path, container)
    if container != "WAV":
        return _Form(container, subtype, frame_bytes)
    if frame_bytes and sound.samples is None:
        return _Form("RF64", subtype, frame_bytes, plain_if_small=True)
    if frame_bytes and sound.samples is not None and sound.samples * frame_bytes > wav.LARGEST_SIZE:
        return _Form("RF64", subtype, frame_bytes)
    kept = sound.container in WAVS and subtype in able_subtypes(sound.container)
    return _Form(sound.container if kept else "WAV", subtype, frame_bytes)


def _too_large(path: Path, container: str) -> AudioFileError:
    return AudioFileError(f"{path}: would exceed 4 GiB, the limit of {container}; write a wav file instead.")


class _File:
    def __init__(
        self,
        path: Path,
        encode: Callable[[Finished], None],
        form: _Form,
        saying: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._path, self._encode, self._form, self._saying = path, encode, form, saying
        self._written = 0
        self.subtype = form.subtype

    def write(self, block: Finished) -> None:
        self._written += len(block)
        if self._form.container in _SMALL and self._written * self._form.frame_bytes > wav.LARGEST_SIZE:
            raise _too_large(self._path, self._form.container)
        with self._saying():
            for at in range(0, len(block), _PART):
                self._encode(block[at : at + _PART])


def _set_tags(file: soundfile.SoundFile, tags: dict[str, str], container: str) -> None:
    for name, text in tags.items():
        if container in _ASCII_TAGS and not text.isascii():
            continue
        try:
            setattr(file, name, text)
        except soundfile.LibsndfileError:  # not supported by the container
            continue


def make_plain(path: Path) -> None:
    """Turn an RF64 file of less than 4 GiB into a WAV: the chunk with its 64-bit sizes becomes one that readers skip.

    EBU Tech 3306 describes the conversion in the other direction; the bytes are the same.
    """
    size = path.stat().st_size
    if size > wav.LARGEST_SIZE:
        return
    with path.open("r+b") as stream:
        header = wav.read_header(stream, str(path))
        start = stream.tell()
        assert header.samples is not None
        for at, content in (
            (0, b"RIFF" + struct.pack("<I", size - 8)),
            (12, b"JUNK"),
            (start - 4, struct.pack("<I", header.samples * header.frame_bytes)),
        ):
            stream.seek(at)
            stream.write(content)


def _pipe(sound: AudioSource, wanted: OutputFormat) -> _Pipe:
    if sys.stdout is None:
        raise AudioFileError(f"{STDOUT}: is closed; redirect it to a file or a program, or name an output file.")
    if sys.stdout.isatty():
        raise AudioFileError(f"{STDOUT}: is a terminal; redirect it to a file or a program, or name an output file.")
    container = wanted.container or ("raw" if sound.container == "RAW" else "wav")
    subtype = known_subtype(wanted.subtype) if wanted.subtype else sound.subtype
    if subtype not in RAW_FORMATS.values():
        subtype = "PCM_24"
    os.set_blocking(sys.stdout.fileno(), True)  # the creator of the pipe may have made it non-blocking
    if container == "raw":
        return _Pipe(subtype, b"")
    header = wav.Header(sound.sample_rate_hz, sound.channels, subtype, sound.samples, sound.tags)
    return _Pipe(subtype, wav.header_bytes(header))


class _Pipe:
    def __init__(self, subtype: str, header: bytes) -> None:
        assert sys.stdout is not None
        self.subtype, self._number = subtype, sys.stdout.fileno()
        self._write(header)

    def write(self, block: Finished) -> None:
        self._write(wav.encode(block, self.subtype))

    def _write(self, content: bytes) -> None:
        """Write everything to the descriptor itself: a buffer would hit a full disk again at exit, with a traceback."""
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._number, rest) :]
