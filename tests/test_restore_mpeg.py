"""MPEG sounds that say nothing of their length, or only of a part: all of them is read, and nothing more."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile

from tests.test_restore_formats import Untouched
from tests.voices import noise
from timbre_restore.audio import FloatArray, lag_samples, rms
from timbre_restore.errors import AudioFileError
from timbre_restore.runtime import Treatment, restore_path
from timbre_restore.runtime.files import mpeg
from timbre_restore.runtime.files.mpeg import frames_of

UNTOUCHED = cast(Treatment, Untouched())
SECONDS = 3.0
DECODER_DELAY = 529
"""Samples that libmpg123 takes off in front where a header counts the frames."""
ID3 = b"ID3\x04\x00\x00" + bytes([0, 0, 16, 0]) + b"TIT2" + bytes(2044)
ID3V1 = b"TAG" + bytes(125)
FORMS = [("VARIABLE", 48_000, 1), ("CONSTANT", 44_100, 2), ("VARIABLE", 22_050, 1), ("CONSTANT", 8_000, 2)]


@pytest.fixture(autouse=True)
def no_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it would read is read without it."""
    monkeypatch.setenv("PATH", str(tmp_path))


def encoded(mode: str, rate: int, channels: int, *, loud_first: bool = True) -> bytes:
    """Half of it loud, half of it next to silent, which variable rates give fewer bytes."""
    sound = noise(SECONDS, level=0.1, seed=3)[: round(SECONDS * rate)]
    quiet = slice(len(sound) // 2, None) if loud_first else slice(0, len(sound) // 2)
    sound[quiet] *= np.float32(1e-4)
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", rate, channels, "MPEG_LAYER_III", format="MP3", compression_level=0.5, bitrate_mode=mode
    ) as file:
        file.write(np.stack([sound] * channels, axis=1))
    return buffer.getvalue()


def without_header(content: bytes, folder: Path) -> bytes:
    """Its sound alone: what a stream carries, and dictaphones write."""
    (folder / "whole.mp3").write_bytes(content)
    frames = frames_of(folder / "whole.mp3")
    assert frames is not None and frames.tells
    return content[frames.start :]


def restored(content: bytes, folder: Path) -> FloatArray:
    (folder / "in.mp3").write_bytes(content)
    restore_path(folder / "in.mp3", folder / "out.wav", UNTOUCHED)
    return cast(FloatArray, soundfile.read(folder / "out.wav", dtype="float32", always_2d=True)[0][:, 0])


def whole_of(content: bytes) -> FloatArray:
    return cast(FloatArray, soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0][:, 0])


@pytest.mark.parametrize(("mode", "rate", "channels"), FORMS)
@pytest.mark.parametrize("loud_first", [True, False])
def test_a_sound_without_a_header_is_read_to_its_end(
    mode: str, rate: int, channels: int, loud_first: bool, tmp_path: Path
) -> None:
    """libmpg123 alone takes it for a fifth as long, or half as long again."""
    content = encoded(mode, rate, channels, loud_first=loud_first)
    bare, whole = without_header(content, tmp_path), whole_of(content)
    for given in (bare, ID3 + bare, bare + ID3V1, ID3 + content + ID3V1):
        out = restored(given, tmp_path)
        # An encoder begins with some delay, which only its own header tells; it ends with what fills a frame.
        late = lag_samples(out, whole)
        assert 0 <= len(out) - len(whole) - late <= 3 * 1152
        np.testing.assert_allclose(out[late:][: len(whole)], whole, atol=2e-4)
    assert late == 0, "one with its header is read as ever"


@pytest.mark.parametrize("between", [b"", ID3, ID3V1 + ID3])
@pytest.mark.parametrize("header", [True, False])
def test_joined_sounds_are_all_read(header: bool, between: bytes, tmp_path: Path) -> None:
    content = encoded("VARIABLE", 48_000, 1)
    part = content if header else without_header(content, tmp_path)
    out, once = restored(part + between + part, tmp_path), restored(without_header(content, tmp_path), tmp_path)
    frame = 1152 if header else 0  # the second header's, which holds no sound
    assert len(out) == 2 * len(once) + DECODER_DELAY + frame
    assert rms(out[len(once) :]) == pytest.approx(rms(once), rel=0.02)


@pytest.mark.parametrize("other", [("VARIABLE", 44_100, 1), ("CONSTANT", 48_000, 2)])
@pytest.mark.parametrize("header", [True, False])
def test_parts_of_another_rate_or_channel_count_are_not_left_out(
    header: bool, other: tuple[str, int, int], tmp_path: Path
) -> None:
    parts = [encoded("VARIABLE", 48_000, 1), encoded(*other)]
    if not header:
        parts = [without_header(part, tmp_path) for part in parts]
    with pytest.raises(AudioFileError, match=r"in\.mp3: holds parts with different .*; install ffmpeg"):
        restored(b"".join(parts), tmp_path)


def test_a_read_that_a_signal_interrupts_is_not_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile reads such a file through Python, which drops what a signal's handler raises there."""
    bare = without_header(encoded("VARIABLE", 48_000, 1), tmp_path)
    plain, reads = mpeg.Told.readinto, iter(range(1_000_000))

    def readinto(self: mpeg.Told, buffer: memoryview) -> int:
        if next(reads) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, buffer)

    monkeypatch.setattr(mpeg.Told, "readinto", readinto)
    with pytest.raises(KeyboardInterrupt):
        restored(bare, tmp_path)
    assert not (tmp_path / "out.wav").exists()


def test_a_tag_behind_the_header_is_none_of_the_sound(tmp_path: Path) -> None:
    """Of joined files: the header speaks of the first one's frames, and does not stand right before them."""
    content = encoded("VARIABLE", 48_000, 1)
    bare = without_header(content, tmp_path)
    header = content[: len(content) - len(bare)]
    out, once = restored(header + ID3 + bare + bare, tmp_path), restored(bare + bare, tmp_path)
    assert np.array_equal(out, once)


def test_a_card_full_of_ones_is_passed_over_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By blocks: byte for byte an hour of a torn recorder's file would take minutes."""
    looked: list[int] = []
    plain = mpeg._frame
    monkeypatch.setattr(mpeg, "_frame", lambda head, at: looked.append(at) or plain(head, at))
    (tmp_path / "a").write_bytes(b"\xff" * 2_000_000)
    assert frames_of(tmp_path / "a") is None and len(looked) < 100


def test_what_is_no_frame_is_passed_over(tmp_path: Path) -> None:
    bare = without_header(encoded("CONSTANT", 44_100, 2), tmp_path)
    out, once = restored(b"\xff\xfb\x00junk\xff" + bare + b"\xff" * 700, tmp_path), restored(bare, tmp_path)
    assert np.array_equal(out, once)


def test_one_that_promises_more_is_cut_off(tmp_path: Path) -> None:
    content = encoded("VARIABLE", 48_000, 1)
    with pytest.raises(AudioFileError, match=r"in\.mp3: the header promises 144000 samples, but only \d+ can be read"):
        restored(content[: len(content) // 2], tmp_path)


def test_tags_come_along(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "a.mp3", "w", 48_000, 1, format="MP3") as file:
        file.title = "A title"
        file.write(noise(1.0))
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "in.mp3").write_bytes(content + content)
    restore_path(tmp_path / "in.mp3", tmp_path / "out.flac", UNTOUCHED)
    with soundfile.SoundFile(tmp_path / "out.flac") as file:
        assert file.title == "A title" and file.frames > 1.9 * 48_000


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"\xff\xfb\x94", b"ID3", b"no frames here" * 1000, b"\xff\xfb\x00\x00" * 50]
)
def test_what_holds_no_frame_has_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    assert frames_of(tmp_path / "a") is None
