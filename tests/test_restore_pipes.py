"""`restore` between programs: WAV and bare samples through standard input and output, by real processes."""

from __future__ import annotations

import fcntl
import io
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.voices import RATE, noise, voice
from timbre_restore.audio import to_pcm
from timbre_restore.errors import AudioFileError
from timbre_restore.runtime import InputEnd
from timbre_restore.runtime.files import reading, wav
from timbre_restore.runtime.files.finish import Rounding

FloatArray = NDArray[np.float32]
ROOT = Path(__file__).resolve().parent.parent
SUBTYPES = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 0, "DOUBLE": 0}
HEADER = wav.Header(RATE, 1, "PCM_16", None)


def command(*arguments: str) -> list[str]:
    code = "import sys; from timbre_restore.apps.cli import main; sys.exit(main())"
    return [sys.executable, "-W", "error", "-c", code, "restore", *arguments]


def start(*arguments: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*arguments), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, cwd=ROOT)


def restored(content: bytes, *arguments: str, status: int = 0) -> tuple[bytes, str]:
    """Standard output, and what was said beside."""
    done = subprocess.run(command(*arguments), input=content, capture_output=True, check=False, cwd=ROOT, timeout=60)
    said = done.stderr.decode()
    assert "Traceback" not in said
    assert done.returncode == status, said
    return done.stdout, said


def within(seconds: float, stream: IO[bytes], size: int) -> bytes:
    """So many bytes, which must come before so many seconds have gone."""
    content, end = b"", time.monotonic() + seconds
    while len(content) < size:
        assert select.select([stream], [], [], max(0.0, end - time.monotonic()))[0], f"{len(content)} of {size} bytes"
        content += stream.read(size - len(content))
    return content


def as_wav(samples: FloatArray, subtype: str = "PCM_16", rate: int = RATE) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", subtype=subtype)
    return stream.getvalue()


def test_sound_comes_out_while_it_still_goes_in(tmp_path: Path) -> None:
    """Through the real suppressor; in all it is what the file gives, but for the order in which floats are added."""
    samples = (voice(3.0) + noise(3.0, level=0.03)).astype(np.float32)
    content = wav.header_bytes(HEADER) + (samples * 32768).astype("<i2").tobytes()
    process = start("-", "-o", "-")
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(content[: 44 + 2 * RATE])  # one second
    first = within(30.0, process.stdout, 44 + 2 * int(0.95 * RATE))
    process.stdin.write(content[44 + 2 * RATE : 44 + 2 * RATE + 1920])  # 20 ms, which come back alike
    first += within(30.0, process.stdout, 1920)
    assert process.poll() is None
    rest, said = process.communicate(content[44 + 2 * RATE + 1920 :], timeout=60)
    out = first + rest
    assert (process.returncode, said.decode()) == (0, "standard output: 3.0 s\n")

    header = wav.read_header(io.BytesIO(out), "out")
    assert (header.samples, header.subtype) == (None, "PCM_16")  # nobody knew the length
    soundfile.write(tmp_path / "in.wav", np.frombuffer(content[44:], "<i2"), RATE)
    restored(b"", str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav"))
    whole = soundfile.read(tmp_path / "out.wav", dtype="int16")[0]
    piped = np.frombuffer(out[44:], "<i2")
    assert len(piped) == len(whole)
    assert np.abs(piped.astype(int) - whole).max() <= 1


def test_bare_samples_in_and_out() -> None:
    """Two channels at 16 kHz, strength 0 behind nothing: each comes back in its place; NaN counts as silence."""
    left, right = voice(1.0, 1)[::3], voice(1.0, 2)[::3]
    samples = np.stack([left, right], axis=1).astype("<f4")
    samples[9000, 1] = np.nan
    line = [
        "-",
        "-o",
        "-",
        "--raw",
        "f32le",
        "--rate",
        "16000",
        "--channels",
        "2",
        "--already-suppressed",
        "--strength",
        "0",
    ]
    out, said = restored(samples.tobytes(), *line)
    back = np.frombuffer(out, "<f4").reshape(-1, 2)
    assert back.shape == samples.shape
    assert np.corrcoef(back[:8000, 0], left[:8000])[0, 1] > 0.99
    assert np.corrcoef(back[:8000, 1], right[:8000])[0, 1] > 0.99
    words = "samples that are NaN, infinite or beyond ±65536 were read and replaced with silence."
    assert said == f"standard output: 1.0 s\nwarning: 1 {words}\n"


def test_from_a_pipe_to_a_file_and_back(tmp_path: Path) -> None:
    samples = voice(1.0)
    target = tmp_path / "new" / "out.flac"
    out, said = restored(as_wav(samples), "-", "-o", str(target), "--already-suppressed", "--strength", "0")
    assert (out.decode(), said) == (f"{target}: 1.0 s\n", "")
    assert soundfile.info(target).subtype == "PCM_16"
    line = [str(target), "-o", "-", "--already-suppressed", "--strength", "0", "--subtype", "pcm24"]
    back, _ = restored(b"", *line)
    assert np.array_equal(soundfile.read(io.BytesIO(back))[0], soundfile.read(target)[0])
    assert soundfile.info(io.BytesIO(back)).subtype == "PCM_24"
    assert sorted(path.name for path in target.parent.iterdir()) == ["out.flac"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_live_recording_that_is_ended_by_hand_is_kept(tmp_path: Path, number: int) -> None:
    target = tmp_path / "take.wav"
    process = start("-", "-o", str(target), "--raw", "s16le", "--already-suppressed", "--strength", "0")
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write(to_pcm(voice(1.0)).tobytes())
    taken_in(process, tmp_path)
    process.send_signal(number)  # its writer does not end
    assert process.wait(20) == 0
    assert process.stderr.read() == b"recording ended by the user: what had come in is kept.\n"
    assert np.array_equal(soundfile.read(target, dtype="int16")[0], to_pcm(voice(1.0)))
    process.communicate()


def test_what_lies_in_the_pipe_when_a_recording_is_ended_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its writer flushes on the same signal, too; one that goes on for ever is left after a while."""
    inner, outer = os.pipe()
    with os.fdopen(inner, "rb", buffering=0) as stream, os.fdopen(outer, "wb", buffering=0) as writer:
        ending = InputEnd()
        read = ending.of(stream).read
        ending.begins(None)
        writer.write(bytes(5000))
        assert len(read(1000) or b"") == 1000
        ending.ask()
        assert [len(read(3000) or b"") for _ in range(2)] == [3000, 1000]
        threading.Timer(0.05, writer.write, [bytes(700)]).start()
        assert [len(read(3000) or b"") for _ in range(2)] == [700, 0]
        monkeypatch.setattr(reading, "LONGEST_DRAIN_S", -1.0)
        ending = InputEnd()
        read = ending.of(stream).read
        ending.begins(None)
        ending.ask()
        writer.write(bytes(9))
        assert read(9) == b""


def test_a_sound_of_known_length_that_is_ended_by_hand_is_not(tmp_path: Path) -> None:
    process = start("-", "-o", str(tmp_path / "take.wav"), "--already-suppressed", "--strength", "0")
    assert process.stdin is not None
    process.stdin.write(as_wav(voice(2.0))[:100_000])
    taken_in(process, tmp_path)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, b"interrupted; what was already written is kept.\n")
    assert list(tmp_path.iterdir()) == []


def taken_in(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the target has been opened and all that was sent has been read."""
    assert process.stdin is not None
    end = time.monotonic() + 30
    while not (list(folder.iterdir()) and waiting_in(process.stdin) == 0):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)


def waiting_in(pipe: IO[bytes]) -> int:
    """Bytes that nobody has read yet."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0])


def test_a_full_disk_behind_standard_output_is_one_sentence(tmp_path: Path) -> None:
    write_to = command("-", "-o", "-", "--already-suppressed", "--strength", "0")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(write_to, input=as_wav(voice(1.0)), stdout=full, stderr=-1, check=False, timeout=60)
    words = "the disk is full (No space left on device); free some space and run the same command again."
    assert (done.returncode, done.stderr.decode()) == (1, f"error: {words}\n")


def test_a_reader_that_goes_ends_it_quietly() -> None:
    process = start("-", "-o", "-", "--raw", "s16le", "--already-suppressed")
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write(bytes(2 * RATE))
    within(30.0, process.stdout, 1000)
    process.stdout.close()
    with pytest.raises(BrokenPipeError):
        for _ in range(100):
            process.stdin.write(bytes(2 * RATE))
    assert process.wait(20) == 1
    assert process.stderr.read() == b""
    process.stderr.close()
    process.stdin.close()


@pytest.mark.parametrize(
    ("content", "extra", "status", "words"),
    [(b"ID3\x04 something", [], 1, "standard input: begins with b'ID3"),
     (b"", [], 1, "standard input: is empty; expected WAV"),
     (as_wav(voice(1.0))[:60_000], [], 1, "standard input: is cut off after 29978 of 48000 samples"),
     (b"", ["--format", "flac"], 2, "standard output: carries wav or raw, not flac"),
     (b"", ["--subtype", "vorbis"], 2, "standard output: can't carry vorbis")],
)  # fmt: skip
def test_what_can_not_go_through_a_pipe(content: bytes, extra: list[str], status: int, words: str) -> None:
    out, said = restored(content, "-", "-o", "-", "--already-suppressed", *extra, status=status)
    assert words in said
    assert said.count("\n") == 1
    assert out == b"" or "cut off" in words


def test_a_recording_that_ends_within_a_sample_is_kept() -> None:
    out, said = restored(bytes(96_001), "-", "-o", "-", "--already-suppressed", "--strength", "0", "--raw", "s16le")
    assert len(out) == 96_000
    assert said.splitlines()[1:] == [
        "warning: standard output: the input ended within a sample, whose 1 bytes were dropped."
    ]


def unfinished(first: int, size: int) -> wav.Header:
    """The header that is read of a WAV with these sizes in front and of its samples, its tags in cp1252."""
    content = bytearray(wav.header_bytes(wav.Header(RATE, 1, "PCM_16", 500, {"title": "T?r"})))
    content[content.index(b"T?r") + 1] = 0xFC
    content[4:8], content[-4:] = struct.pack("<I", first), struct.pack("<I", size)
    return wav.read_header(io.BytesIO(content), "x")


@pytest.mark.parametrize(
    ("first", "size", "samples"),
    [(1036, 1000, 500), (0, 1000, 500), (0xFFFF_FFFF, 0xFFFF_FFFF, None), (0x8000_0024, 0x8000_0000, None),
     (0x7FFF_F024, 0x7FFF_F000, None), (0x7FFF_F020, 0x7FFF_EFFC, None), (0xC000_0024, 0xC000_0000, 0x6000_0000),
     (1036, 0x7FFF_DFFE, 0x3FFF_EFFF), (0, 0, None), (0xFFFF_FFFF, 0, None),
     (60, 0, None), (100, 0, 0)],
)  # fmt: skip
def test_sizes_that_say_nothing(first: int, size: int, samples: int | None) -> None:
    """sox, arecord and ffmpeg leave large ones, others none; with chunks behind, none means none."""
    header = unfinished(first, size)
    assert header.samples == samples
    assert header.tags == {"title": "Tür"}


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("samples", [None, 500])
def test_a_header_says_what_libsndfile_understands(subtype: str, samples: int | None) -> None:
    header = wav.Header(44_100, 2, subtype, samples, {"title": "Tü", "artist": "A"})
    sound = np.stack([voice(0.1, 1), voice(0.1, 2)], axis=1)[:500]
    stored = Rounding(SUBTYPES[subtype], 2)(sound) if SUBTYPES[subtype] else sound
    content = wav.header_bytes(header) + wav.encode(stored, subtype)
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert (file.samplerate, file.channels, file.subtype, file.frames) == (44_100, 2, subtype, 500)
        assert (file.title, file.artist) == ("Tü", "A")
        read = file.read(dtype="float32")
    stream = io.BytesIO(content)
    assert wav.read_header(stream, "x") == header
    assert np.array_equal(np.concatenate(list(wav.blocks(stream, header, "x", 64, full=True))), read)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64"])
def test_what_libsndfile_writes_is_read_alike(subtype: str, kind: str) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, voice(0.1), RATE, format=kind, subtype=subtype)
    stream.seek(0)
    header = wav.read_header(stream, "x")
    assert (header.sample_rate_hz, header.channels, header.subtype, header.samples) == (RATE, 1, subtype, 4800)
    read = np.concatenate(list(wav.blocks(stream, header, "x", 1000, full=False)))
    stream.seek(0)
    assert np.array_equal(read[:, 0], soundfile.read(stream, dtype="float32")[0])


def test_headers_that_are_none() -> None:
    good = as_wav(voice(0.1))
    for content, words in [
        (good[:30], "ends before its first sample"),
        (good[:20] + b"\x07\0" + good[22:], "samples of format 7 with 16 bits"),
        (b"RIFF\0\0\0\0AVI " + good[12:], "begins with b'RIFF'"),
        (good[:12] + good[36:], "its samples come before their format"),
    ]:
        with pytest.raises(AudioFileError, match=words):
            wav.read_header(io.BytesIO(content), "x")


def test_a_terminal_is_no_sound() -> None:
    parent, child = os.openpty()
    try:
        done = subprocess.run(
            command("-", "-o", "x.wav"), stdin=child, capture_output=True, check=False, cwd=ROOT, text=True
        )
    finally:
        os.close(parent)
        os.close(child)
    assert done.returncode == 1
    assert "standard input: is a terminal" in done.stderr


@pytest.mark.parametrize(
    ("redirection", "line", "words"),
    [("<&-", ["-", "-o", "x.wav"], "standard input: is closed"),
     (">&-", ["-", "-o", "-", "--raw", "s16le"], "standard output: is closed")],
)  # fmt: skip
def test_what_is_closed_is_no_terminal(redirection: str, line: list[str], words: str) -> None:
    shell = ["/bin/sh", "-c", f'"$@" {redirection}', "sh", *command(*line)]
    done = subprocess.run(shell, input="", capture_output=True, check=False, cwd=ROOT, text=True)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def held(pipe: int) -> int:
    """Bytes that wait in a pipe."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def test_an_output_that_would_not_wait_is_made_to(tmp_path: Path) -> None:
    """Another program that shares it may have left it so; more is written here than it holds at once."""
    (tmp_path / "in.raw").write_bytes(bytes(8 * RATE))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    line = command("-", "-o", "-", "--raw", "s16le", "--already-suppressed", "--strength", "0")
    with (tmp_path / "in.raw").open("rb") as source:
        process = subprocess.Popen(line, stdin=source, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        deadline = time.monotonic() + 60
        while held(reader) < fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(stream.read()) == 8 * RATE
    _, said = process.communicate(timeout=30)
    assert said == b"standard output: 4.0 s\n"
    assert process.returncode == 0
