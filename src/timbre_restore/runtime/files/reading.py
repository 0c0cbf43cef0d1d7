"""Sources of sound, block by block: files by libsndfile, what it does not know by ffmpeg, standard input.

A block is some seconds at the most, so memory does not grow with the length.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from timbre_restore.audio import NO_SOUND, FloatArray, is_sound, without_no_sound
from timbre_restore.audio.files import NO_LENGTH, name_for_libsndfile, reason_of
from timbre_restore.audio.whole import check_whole, is_chained
from timbre_restore.errors import AudioFileError
from timbre_restore.runtime.files import wav
from timbre_restore.runtime.files.ffmpeg import FfmpegError, decoding, ffmpeg_program
from timbre_restore.runtime.files.formats import BY_FFMPEG, CHANNELS, PIPE, RATES_HZ, WAVS, Raw
from timbre_restore.runtime.files.mpeg import Told, frames_of

BLOCK_S = 5.0
LARGEST_BLOCK = 1 << 22
"""Numbers in a block, whatever the rate and the channels: 16 MiB."""
STDIN = "standard input"


class Ending:
    """Somebody's wish that standard input end here: `ask`, for a signal's handler, ends it as its writer would.

    A recording whose length nobody knows is whole wherever it ends. What says its length is not, and asking twice means
    an end without a result: then `ask` raises `KeyboardInterrupt`.
    """

    def __init__(self) -> None:
        self.asked = False
        self._open_ended = self._reading = False

    def ask(self) -> None:
        """End the source, if it is open at its end, after what has come in so far."""
        again, self.asked = self.asked, True
        if again or self._reading or not self._open_ended:
            raise KeyboardInterrupt

    def of(self, stream: wav.Readable) -> wav.Readable:
        """The stream, which ends when it is asked to."""
        self._stream = stream
        return self

    def begins(self, samples: int | None) -> None:
        """Its header has been read."""
        self._open_ended = samples is None

    def read(self, size: int, /) -> bytes:
        """What the stream gives, or nothing more."""
        if self.asked:
            return b""
        try:
            self._reading = True
            content = self._stream.read(size) or b""
            self._reading = False
        except KeyboardInterrupt:  # while it waited, which it may for ever
            self._reading = False
            if not self._open_ended:
                raise
            return b""
        return content


class _UnknownError(AudioFileError):
    """libsndfile does not know what a file is; ffmpeg may."""


@dataclass
class Sound:
    """An open source. `blocks` are float32 `[T, C]`, to be read once."""

    sample_rate_hz: int
    channels: int
    container: str
    subtype: str
    samples: int | None
    """Per channel, by its header; None when that does not say."""
    blocks: Iterator[FloatArray]
    tags: dict[str, str] = field(default_factory=dict)
    mended_samples: int = 0
    """Samples of a pipe that were no sound, taken for silence; a file with such is refused."""
    dropped_bytes: int = 0
    """Of a last sample that was not all there, where the length was not known."""

    @property
    def seconds(self) -> float | None:
        """Its length, as far as its header says."""
        return None if self.samples is None else self.samples / self.sample_rate_hz


@contextmanager
def open_sound(path: Path, raw: Raw | None = None, ending: Ending | None = None) -> Iterator[Sound]:
    """Open a file, or standard input for `PIPE`, which is WAV unless `raw` says what it is, and ends by `ending` too.

    Opening and reading raise `AudioFileError`: missing, no sound, cut off, or samples in a file that are none.
    """
    if path == PIPE:
        yield _stdin_sound(raw, ending or Ending())
        return
    check_source(path)
    check_whole(path)
    with ExitStack() as stack:
        try:
            file, tags = _opened(path, stack)
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
        blocks = _file_blocks(file, path)
        yield Sound(file.samplerate, file.channels, file.format, str(file.subtype), file.frames, blocks, tags)


def check_source(path: Path) -> None:
    """Raise `AudioFileError` for what is no file. A pipe with a name is none: whoever opens it waits for a writer."""
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise AudioFileError(f"{path}: no such file ({exc.strerror}); check the path.") from exc
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        raise AudioFileError(f"{path}: is a pipe; send it to standard input, and give - as the input.")
    if not stat.S_ISREG(mode):
        raise AudioFileError(f"{path}: is no file; expected a sound file.")


def check_shape(name: str, rate_hz: int, channels: int) -> None:
    """Raise `AudioFileError` for a rate or a count of channels that no sound has, but a torn header may."""
    if rate_hz not in RATES_HZ:
        raise AudioFileError(f"{name}: has a rate of {rate_hz} Hz; expected {RATES_HZ[0]} to {RATES_HZ[-1]} Hz.")
    if channels not in CHANNELS:
        raise AudioFileError(f"{name}: has {channels} channels; expected {CHANNELS[0]} to {CHANNELS[-1]}.")


def seconds_of(path: Path) -> float | None:
    """A file's length by its header, where that is quick to know."""
    if not path.is_file():
        return None
    try:
        info = soundfile.info(name_for_libsndfile(path))
    except (soundfile.LibsndfileError, OSError, TypeError):
        return None
    return float(info.duration) if info.frames < NO_LENGTH else None


def _opened(path: Path, stack: ExitStack) -> tuple[soundfile.SoundFile | None, dict[str, str]]:
    """The file by libsndfile, open as long as the stack, and its tags; None for a WAV that does not say how long it is.

    Raises `AudioFileError`.
    """
    try:
        file = stack.enter_context(soundfile.SoundFile(name_for_libsndfile(path)))
        tags = _readable(file.copy_metadata())
        if file.format in WAVS and file.frames == 0:
            return None, tags
        if file.frames >= NO_LENGTH:
            raise _UnknownError(f"{path}: does not say how long it is, which only ffmpeg can read; install ffmpeg.")
        if file.format == "OGG" and is_chained(path):
            raise _UnknownError(
                f"{path}: holds several streams, one behind the other, of which all but the first only ffmpeg can "
                "read; install ffmpeg."
            )
        return (_all_of_mpeg(path, file, stack) if file.format == "MP3" else file), tags
    except (soundfile.LibsndfileError, OSError, TypeError) as exc:
        remedy = "expected a sound file"
        if path.suffix.lower() in BY_FFMPEG and ffmpeg_program() is None:
            remedy = "install ffmpeg, which can read such files"
        raise _UnknownError(f"{path}: can't be read as audio ({reason_of(exc)}); {remedy}.") from exc


def _all_of_mpeg(path: Path, file: soundfile.SoundFile, stack: ExitStack) -> soundfile.SoundFile:
    """The file itself, where it says how long it is; else one that does (see `mpeg`)."""
    frames = frames_of(path)
    if frames is None or frames.tells or frames.count * frames.samples == file.frames:
        return file
    if frames.layer < 3:
        raise _UnknownError(f"{path}: does not say how long it is, which only ffmpeg can read; install ffmpeg.")
    told = stack.enter_context(Told(path, frames))
    return stack.enter_context(soundfile.SoundFile(io.BufferedReader(told)))


def _largest(rate_hz: int, channels: int) -> int:
    """Samples per channel in a block."""
    return min(int(BLOCK_S * rate_hz), LARGEST_BLOCK // channels)


def _readable(tags: dict[str, str]) -> dict[str, str]:
    """Without texts that were not in UTF-8, of which libsndfile's binding leaves marks where letters were."""
    return {name: text for name, text in tags.items() if "\ufffd" not in text}


def _file_blocks(file: soundfile.SoundFile, path: Path) -> Iterator[FloatArray]:
    taken, largest = 0, _largest(file.samplerate, file.channels)
    while True:
        try:
            block = file.read(largest, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as exc:
            at_s = taken / file.samplerate
            raise AudioFileError(
                f"{path}: can't be read on from second {at_s:.1f} ({reason_of(exc)}); copy the file again."
            ) from exc
        if not len(block):
            break
        _refuse_no_sound(block, taken, file.samplerate, path)
        taken += len(block)
        yield block
    if taken < file.frames:
        raise AudioFileError(
            f"{path}: the header promises {file.frames} samples and {taken} can be read; copy the file again."
        )


def _refuse_no_sound(block: FloatArray, before: int, rate_hz: int, path: Path | str) -> None:
    bad = ~is_sound(block).all(axis=1)
    if bad.any():
        at_s = (before + int(np.argmax(bad))) / rate_hz
        raise AudioFileError(f"{path}: holds {NO_SOUND} (the first at {at_s:.3f} s); export it again from its source.")


def _stdin_sound(raw: Raw | None, ending: Ending) -> Sound:
    if sys.stdin is None:
        raise AudioFileError(f"{STDIN}: is closed; send a sound into it, or name a file.")
    if sys.stdin.isatty():
        raise AudioFileError(f"{STDIN}: is a terminal; send a sound into it, or name a file.")
    os.set_blocking(0, True)
    stream = ending.of(open(0, "rb", buffering=0, closefd=False))  # noqa: SIM115 - it is not ours to close
    if raw is None:
        container, header = "WAV", wav.read_header(stream, STDIN)
    else:
        container, header = "RAW", wav.Header(raw.sample_rate_hz, raw.channels, raw.subtype, None)
    ending.begins(header.samples)
    return _wav_sound(stream, header, STDIN, container, live=True)


def _wav_sound(stream: wav.Readable, header: wav.Header, name: str, container: str, *, live: bool = False) -> Sound:
    """Of a stream behind its header; what is `live` is given as it comes, and may not be lost for one bad sample."""
    rate, channels = header.sample_rate_hz, header.channels
    check_shape(name, rate, channels)
    read = wav.blocks(stream, header, name, _largest(rate, channels), full=not live)
    sound = Sound(rate, channels, container, header.subtype, header.samples, read, header.tags)
    blocks = _ended(sound, read)
    sound.blocks = _mended(sound, blocks) if live else _checked(blocks, rate, name)
    return sound


def _ended(sound: Sound, blocks: Generator[FloatArray, None, int]) -> Iterator[FloatArray]:
    sound.dropped_bytes = yield from blocks


def _mended(sound: Sound, blocks: Iterator[FloatArray]) -> Iterator[FloatArray]:
    for block in blocks:
        mended, count = without_no_sound(block)
        sound.mended_samples += count
        yield mended


def _checked(blocks: Iterator[FloatArray], rate_hz: int, name: str) -> Iterator[FloatArray]:
    taken = 0
    for block in blocks:
        _refuse_no_sound(block, taken, rate_hz, name)
        taken += len(block)
        yield block


def _ffmpeg_header(stream: wav.Readable, path: Path, first: AudioFileError) -> wav.Header:
    """Of ffmpeg's output; when there is none, it is no sound for anybody."""
    try:
        return wav.read_header(stream, str(path))
    except FfmpegError as exc:
        raise AudioFileError(f"{str(first).removesuffix('.')} (ffmpeg: {exc.said}).") from exc
