"""Audio sources, block by block: files through libsndfile, unknown formats through ffmpeg, and standard input.

A block is a few seconds at most, so memory does not grow with the length.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from timbre_restore.audio import INVALID_SAMPLES, FloatArray, is_valid, replace_invalid
from timbre_restore.audio.files import NO_LENGTH, name_for_libsndfile, reason_of
from timbre_restore.audio.whole import check_whole, is_chained
from timbre_restore.errors import AudioFileError
from timbre_restore.runtime.files import wav
from timbre_restore.runtime.files.aside import Aside
from timbre_restore.runtime.files.ffmpeg import FfmpegError, decoding, ffmpeg_program
from timbre_restore.runtime.files.formats import BY_FFMPEG, CHANNELS, PIPE, RATES_HZ, WAVS, Raw
from timbre_restore.runtime.files.mpeg import Told, frames_of

BLOCK_S = 5.0
LARGEST_BLOCK = 1 << 22
"""Maximum number of values in a block, whatever the rate and channel count: 16 MiB."""
STDIN = "standard input"
DRAIN_S, LONGEST_DRAIN_S = 0.2, 2.0
"""After the end was asked for: how long to wait for more data in the pipe, and how long to go on reading at most."""


class InputEnd:
    """A request to end standard input here: `ask`, called by a signal handler, ends it as its writer would.

    A recording of unknown length is complete wherever it ends. One that states its length is not, and asking twice
    means giving up without a result: in both cases `ask` raises `KeyboardInterrupt`.
    """

    def __init__(self) -> None:
        self.asked = False
        self._open_ended = self._waiting = False
        self._ends_s = 0.0

    def ask(self) -> None:
        """End the source after what has come in so far, if its length is open."""
        again, self.asked = self.asked, True
        if again or self._waiting or not self._open_ended:
            raise KeyboardInterrupt

    def of(self, stream: io.FileIO) -> wav.Readable:
        """Wrap the stream, so that it ends when asked to."""
        self._stream = stream
        return self

    def begins(self, samples: int | None) -> None:
        """Called once the header has been read."""
        self._open_ended = samples is None

    def read(self, size: int, /) -> bytes:
        """Read from the stream; once the end was asked for, only what is already in the pipe."""
        try:
            self._waiting = not self.asked
            ready = self._ready()
            self._waiting = False
        except KeyboardInterrupt:  # while waiting, which may take forever; nothing has been read
            self._waiting = False
            if not self._open_ended:
                raise
            ready = self._ready()
        return (self._stream.read(size) or b"") if ready else b""

    def _ready(self) -> bool:
        """Wait for data or the end of the stream; once the end was asked for, only for what is already in the pipe.

        A writer that received the same Ctrl-C may still flush its buffers; one that never stops is not waited for.
        """
        if not self.asked:
            if os.name == "posix":  # elsewhere it waits for sockets alone
                select.select([self._stream], [], [])
            return True
        self._ends_s = self._ends_s or time.monotonic() + LONGEST_DRAIN_S
        return (
            os.name == "posix"
            and stat.S_ISFIFO(os.fstat(self._stream.fileno()).st_mode)
            and time.monotonic() < self._ends_s
            and bool(select.select([self._stream], [], [], DRAIN_S)[0])
        )


class _UnknownError(AudioFileError):
    """libsndfile does not recognise the file; ffmpeg may."""


@dataclass
class AudioSource:
    """An open source. `blocks` are float32 `[T, C]`, to be read once."""

    sample_rate_hz: int
    channels: int
    container: str
    subtype: str
    samples: int | None
    """Per channel, from the header; None when it does not say."""
    blocks: Iterator[FloatArray]
    tags: dict[str, str] = field(default_factory=dict)
    repaired_samples: int = 0
    """Invalid samples of a pipe that were replaced with silence; a file with any is refused."""
    dropped_bytes: int = 0
    """Bytes of an incomplete last sample, where the length was not known."""

    @property
    def seconds(self) -> float | None:
        """The length in seconds, if the header states it."""
        return None if self.samples is None else self.samples / self.sample_rate_hz


@contextmanager
def open_source(path: Path, raw: Raw | None = None, ending: InputEnd | None = None) -> Iterator[AudioSource]:
    """Open a file, or standard input for `PIPE`; that is WAV unless `raw` describes it, and `ending` may end it early.

    Opening and reading raise `AudioFileError` if a file is missing, not audio, truncated, or has invalid samples.
    """
    if path == PIPE:
        yield _stdin_sound(raw, ending or InputEnd())
        return
    check_source(path)
    check_whole(path)
    with ExitStack() as stack:
        aside = stack.enter_context(Aside())
        try:
            file, tags = _opened(path, stack, aside)
        except _UnknownError as exc:
            program = ffmpeg_program()
            if program is None or path.stat().st_size == 0:
                raise
            stream = stack.enter_context(decoding(path, program))
            yield _wav_sound(stream, _ffmpeg_header(stream, path, exc), str(path), "")
            return
        if file is None:
            plain = stack.enter_context(path.open("rb", buffering=0))
            yield _wav_sound(plain, wav.read_header(plain, str(path)), str(path), "WAV")
            return
        check_shape(str(path), file.samplerate, file.channels)
        blocks = _file_blocks(file, path, aside)
        yield AudioSource(file.samplerate, file.channels, file.format, str(file.subtype), file.frames, blocks, tags)


def check_source(path: Path) -> None:
    """Raise `AudioFileError` if it is not a regular file. Opening a named pipe would wait for a writer."""
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise AudioFileError(f"{path}: no such file ({exc.strerror}); check the path.") from exc
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        raise AudioFileError(f"{path}: is a pipe; redirect it to standard input, and give - as the input.")
    if not stat.S_ISREG(mode):
        raise AudioFileError(f"{path}: is not a regular file; expected an audio file.")


def check_shape(name: str, rate_hz: int, channels: int) -> None:
    """Raise `AudioFileError` for an implausible rate or channel count, as in a damaged header."""
    if rate_hz not in RATES_HZ:
        raise AudioFileError(f"{name}: has a rate of {rate_hz} Hz; expected {RATES_HZ[0]} to {RATES_HZ[-1]} Hz.")
    if channels not in CHANNELS:
        raise AudioFileError(f"{name}: has {channels} channels; expected {CHANNELS[0]} to {CHANNELS[-1]}.")


def seconds_of(path: Path) -> float | None:
    """A file's length from its header, if that is quick to read."""
    if not path.is_file():
        return None
    try:
        info = soundfile.info(name_for_libsndfile(path))
    except (soundfile.LibsndfileError, OSError, TypeError):
        return None
    return float(info.duration) if info.frames < NO_LENGTH else None


def _opened(path: Path, stack: ExitStack, aside: Aside) -> tuple[soundfile.SoundFile | None, dict[str, str]]:
    """The file, open in libsndfile until `stack` closes, and its tags; None for a WAV that does not state its length.

    Raises `AudioFileError`.
    """
    try:
        file = _open(partial(soundfile.SoundFile, name_for_libsndfile(path)), stack, aside)
        tags = _readable(file.copy_metadata())
        if file.format in WAVS and (file.frames == 0 or wav.outgrew(path)):
            return None, tags
        if file.frames >= NO_LENGTH:
            raise _UnknownError(f"{path}: does not state its length, so only ffmpeg can read it; install ffmpeg.")
        if file.format == "OGG" and is_chained(path):
            raise _UnknownError(
                f"{path}: holds several streams, one after another, and only ffmpeg can read more than the first; "
                "install ffmpeg."
            )
        return (_all_of_mpeg(path, file, stack, aside) if file.format == "MP3" else file), tags
    except (soundfile.LibsndfileError, OSError, TypeError) as exc:
        remedy = "expected an audio file"
        if path.suffix.lower() in BY_FFMPEG and ffmpeg_program() is None:
            remedy = "install ffmpeg, which can read such files"
        raise _UnknownError(f"{path}: can't be read as audio ({reason_of(exc)}); {remedy}.") from exc


def _all_of_mpeg(path: Path, file: soundfile.SoundFile, stack: ExitStack, aside: Aside) -> soundfile.SoundFile:
    """The file itself, if it states its length; otherwise one that does (see `mpeg`)."""
    frames = frames_of(path)
    if frames is not None and frames.mixed:
        raise _UnknownError(
            f"{path}: holds parts with different rates or channel counts, which only ffmpeg can read; install ffmpeg."
        )
    if frames is None or frames.tells or frames.count * frames.samples == file.frames:
        return file
    if frames.layer < 3:
        raise _UnknownError(f"{path}: does not state its length, so only ffmpeg can read it; install ffmpeg.")
    told = stack.enter_context(Told(path, frames))
    return _open(partial(soundfile.SoundFile, io.BufferedReader(told)), stack, aside)


def _open(make: Callable[[], soundfile.SoundFile], stack: ExitStack, aside: Aside) -> soundfile.SoundFile:
    """Open a file that is closed with the stack, after the last read of it has returned."""
    return stack.enter_context(aside.opened(make, soundfile.SoundFile.close))


def _largest(rate_hz: int, channels: int) -> int:
    """Maximum number of samples per channel in a block."""
    return min(int(BLOCK_S * rate_hz), LARGEST_BLOCK // channels)


def _readable(tags: dict[str, str]) -> dict[str, str]:
    """The tags without texts that were not UTF-8; libsndfile's binding puts replacement characters into those."""
    return {name: text for name, text in tags.items() if "\ufffd" not in text}


def _file_blocks(file: soundfile.SoundFile, path: Path, aside: Aside) -> Iterator[FloatArray]:
    taken, largest = 0, _largest(file.samplerate, file.channels)
    while True:
        try:
            block = aside(file.read, largest, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as exc:
            at_s = taken / file.samplerate
            raise AudioFileError(
                f"{path}: can't be read beyond {at_s:.1f} s ({reason_of(exc)}); copy the file again."
            ) from exc
        if not len(block):
            break
        _refuse_invalid(block, taken, file.samplerate, path)
        taken += len(block)
        yield block
    if taken < file.frames:
        raise AudioFileError(
            f"{path}: the header promises {file.frames} samples, but only {taken} can be read; copy the file again."
        )


def _refuse_invalid(block: FloatArray, before: int, rate_hz: int, path: Path | str) -> None:
    bad = ~is_valid(block).all(axis=1)
    if bad.any():
        at_s = (before + int(np.argmax(bad))) / rate_hz
        raise AudioFileError(
            f"{path}: holds {INVALID_SAMPLES} (the first at {at_s:.3f} s); export it again from its source."
        )


def _stdin_sound(raw: Raw | None, ending: InputEnd) -> AudioSource:
    if sys.stdin is None:
        raise AudioFileError(f"{STDIN}: is closed; pipe audio into it, or name a file.")
    if sys.stdin.isatty():
        raise AudioFileError(f"{STDIN}: is a terminal; pipe audio into it, or name a file.")
    os.set_blocking(0, True)
    stream = ending.of(open(0, "rb", buffering=0, closefd=False))  # noqa: SIM115 - not ours to close
    if raw is None:
        container, header = "WAV", wav.read_header(stream, STDIN)
    else:
        container, header = "RAW", wav.Header(raw.sample_rate_hz, raw.channels, raw.subtype, None)
    ending.begins(header.samples)
    return _wav_sound(stream, header, STDIN, container, live=True)


def _wav_sound(
    stream: wav.Readable, header: wav.Header, name: str, container: str, *, live: bool = False
) -> AudioSource:
    """The audio of a stream after its header; if `live`, it is passed on as it comes, and bad samples do not end it."""
    rate, channels = header.sample_rate_hz, header.channels
    check_shape(name, rate, channels)
    read = wav.blocks(stream, header, name, _largest(rate, channels), full=not live)
    sound = AudioSource(rate, channels, container, header.subtype, header.samples, read, header.tags)
    blocks = _ended(sound, read)
    sound.blocks = _repaired(sound, blocks) if live else _checked(blocks, rate, name)
    return sound


def _ended(sound: AudioSource, blocks: Generator[FloatArray, None, int]) -> Iterator[FloatArray]:
    sound.dropped_bytes = yield from blocks


def _repaired(sound: AudioSource, blocks: Iterator[FloatArray]) -> Iterator[FloatArray]:
    for block in blocks:
        valid, count = replace_invalid(block)
        sound.repaired_samples += count
        yield valid


def _checked(blocks: Iterator[FloatArray], rate_hz: int, name: str) -> Iterator[FloatArray]:
    taken = 0
    for block in blocks:
        _refuse_invalid(block, taken, rate_hz, name)
        taken += len(block)
        yield block


def _ffmpeg_header(stream: wav.Readable, path: Path, first: AudioFileError) -> wav.Header:
    """The header of ffmpeg's output. Raises `AudioFileError` when there is none: nothing can read the file."""
    try:
        return wav.read_header(stream, str(path))
    except FfmpegError as exc:
        raise AudioFileError(f"{str(first).removesuffix('.')} (ffmpeg: {exc.said}).") from exc
