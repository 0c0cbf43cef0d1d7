"""Sources that are cut off, empty, torn or no files at all, and those that only look so."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile

from tests.test_restore_formats import RATE, Untouched, left_in, write
from tests.voices import voice
from timbre_restore.audio.whole import check_whole
from timbre_restore.errors import AudioFileError
from timbre_restore.runtime import OutputFormat, Treatment, restore_path
from timbre_restore.runtime.files import reading
from timbre_restore.runtime.files.limits import check_fits

UNTOUCHED = cast(Treatment, Untouched())


@pytest.fixture(autouse=True)
def no_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would take some of these files for whole."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("NIST", "PCM_16"), ("NIST", "PCM_24"), ("NIST", "ULAW"), ("VOC", "PCM_16"), ("VOC", "PCM_U8"), ("VOC", "ULAW"),
     ("AVR", "PCM_16"), ("AVR", "PCM_S8"), ("SVX", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ULAW"), ("AIFF", "PCM_16"),
     ("AU", "PCM_16"), ("W64", "PCM_16"), ("WAV", "PCM_16"), ("WAV", "ULAW"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16")],
)  # fmt: skip
def test_whole_files_pass_and_cut_ones_do_not(tmp_path: Path, kind: str, subtype: str, channels: int) -> None:
    channels = 1 if kind == "SVX" else channels  # which holds no more
    path = tmp_path / "in.x"
    soundfile.write(path, np.stack([voice(0.1)] * channels, axis=1), RATE, subtype, format=kind)
    check_whole(path)
    content = path.read_bytes()
    for length in (len(content) * 6 // 10, len(content) - 2 * channels - 6):
        path.write_bytes(content[:length])
        with pytest.raises(AudioFileError, match=rf"in\.x: is cut off after {length} of \d+ bytes; copy the file"):
            restore_path(path, tmp_path / "out.wav", UNTOUCHED)
    assert left_in(tmp_path) == ["in.x"]


def damaged(path: Path, first: Callable[[int], int], size: Callable[[int], int], behind: bytes = b"") -> Path:
    """A WAV with other sizes in front and of its samples."""
    content = bytearray(write(path, voice(0.1)).read_bytes() + behind)
    content[4:8] = struct.pack("<I", first(len(content)))
    content[40:44] = struct.pack("<I", size(struct.unpack_from("<I", content, 40)[0]))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("first", [0, 0xFFFF_FFFF, 0x7FFF_F024, 36, 9000])
def test_a_wav_is_cut_off_whatever_stands_first(tmp_path: Path, first: int) -> None:
    source = damaged(tmp_path / "in.wav", lambda _length: first, lambda size: 2 * size)
    with pytest.raises(AudioFileError, match=r"in\.wav: is cut off after 9644 of 19244 bytes"):
        restore_path(source, tmp_path / "out.wav", UNTOUCHED)


@pytest.mark.parametrize(
    ("first", "size"),
    [(lambda length: length, lambda size: size), (lambda length: length - 7, lambda size: size),
     (lambda length: length + 100, lambda size: size), (lambda _length: 0, lambda size: size),
     (lambda length: length - 8, lambda _size: 0x8000_0000), (lambda _length: 0xFFFF_FFFF, lambda _size: 0),
     (lambda _length: 36, lambda _size: 0), (lambda _length: 0x8000_0024, lambda _size: 0x8000_0000)],
)  # fmt: skip
def test_a_wav_with_odd_sizes_is_whole(tmp_path: Path, first: Callable[[int], int], size: Callable[[int], int]) -> None:
    source = damaged(tmp_path / "in.wav", first, size)
    restore_path(source, tmp_path / "out.wav", UNTOUCHED)
    whole = soundfile.read(write(tmp_path / "whole.wav", voice(0.1)), dtype="float32")[0]
    assert np.array_equal(soundfile.read(tmp_path / "out.wav", dtype="float32")[0], whole)


def test_a_missing_pad_byte_is_no_loss(tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", voice(0.1)[:999], "PCM_U8")
    content = source.read_bytes()
    source.write_bytes(content[: 44 + 999])
    restore_path(source, tmp_path / "out.wav", UNTOUCHED)
    assert soundfile.info(tmp_path / "out.wav").frames == 999


def test_an_empty_wav_with_tags_behind_is_empty(tmp_path: Path) -> None:
    (tmp_path / "in.wav").write_bytes(
        damaged(tmp_path / "in.wav", lambda _length: 36, lambda _size: 0).read_bytes()[:44]
        + b"LIST" + struct.pack("<I", 4000) + b"INFO" + bytes(3996)
    )  # fmt: skip
    with (tmp_path / "in.wav").open("r+b") as stream:
        stream.seek(4)
        stream.write(struct.pack("<I", 44 + 4008 - 8))
    with pytest.raises(AudioFileError, match=r"in\.wav: holds no samples"):
        restore_path(tmp_path / "in.wav", tmp_path / "out.wav", UNTOUCHED)


def test_rates_and_channels_that_no_sound_has(tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", voice(0.1))
    content = bytearray(source.read_bytes())
    for at, form, number, words in [
        (24, "<I", 4_000_000_000, "has a rate of -?[0-9]+ Hz; expected 1000 to 768000 Hz|can't be read"),
        (24, "<I", 2_000_000_000, "has a rate of 2000000000 Hz; expected 1000 to 768000 Hz"),
        (24, "<I", 1, "has a rate of 1 Hz; expected 1000 to 768000 Hz"),
        (22, "<H", 65, "has 65 channels; expected 1 to 64"),
    ]:
        torn = content.copy()
        struct.pack_into(form, torn, at, number)
        if at == 22:
            struct.pack_into("<H", torn, 32, 2 * number)
        source.write_bytes(torn)
        with pytest.raises(AudioFileError, match=words):
            restore_path(source, tmp_path / "out.wav", UNTOUCHED)
    assert left_in(tmp_path) == ["in.wav"]


def test_a_block_has_a_size_whatever_the_rate() -> None:
    assert reading._largest(48_000, 2) == 240_000
    assert reading._largest(768_000, 64) * 64 <= 1 << 22


def test_a_pipe_with_a_name_is_not_opened(tmp_path: Path) -> None:
    """It would wait for ever."""
    os.mkfifo(tmp_path / "in.wav")
    with pytest.raises(
        AudioFileError, match=r"in\.wav: is a pipe; redirect it to standard input, and give - as the input"
    ):
        restore_path(tmp_path / "in.wav", tmp_path / "out.wav", UNTOUCHED)
    reader, writer = os.pipe()
    try:
        with pytest.raises(AudioFileError, match=rf"/dev/fd/{reader}: is a pipe"):
            restore_path(Path(f"/dev/fd/{reader}"), tmp_path / "out.wav", UNTOUCHED)
    finally:
        os.close(reader)
        os.close(writer)
    with pytest.raises(AudioFileError, match=r"/dev/null: is not a regular file; expected an audio file"):
        restore_path(Path("/dev/null"), tmp_path / "out.wav", UNTOUCHED)
    write(tmp_path / "good.wav", voice(0.1))
    summary = restore_path(tmp_path, tmp_path / "out", UNTOUCHED)
    assert [result.target.name for result in summary.done] == ["good.wav"]
    assert len(summary.failed) == 1 and "is a pipe" in summary.failed[0]


def test_tags_that_are_no_utf_8_are_left_out(tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", voice(0.1), title="T?r", artist="A")
    source.write_bytes(source.read_bytes().replace(b"T?r", b"T\xfcr"))
    restore_path(source, tmp_path / "out.wav", UNTOUCHED)
    with soundfile.SoundFile(tmp_path / "out.wav") as file:
        assert file.copy_metadata() == {"artist": "A"}


def test_a_file_by_the_name_of_a_pipe_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN in it is refused. As WAV without a length, which is read as pipes are."""
    monkeypatch.chdir(tmp_path)
    samples = voice(0.1)
    samples[100] = np.nan
    content = bytearray(write(tmp_path / "in.wav", samples, "FLOAT").read_bytes())
    at = content.index(b"data") + 4
    content[4:8], content[at : at + 4] = bytes(4), bytes(4)
    Path("standard input").write_bytes(content)
    with pytest.raises(AudioFileError, match="standard input: holds samples that are NaN"):
        restore_path(Path("standard input"), tmp_path / "out.wav", UNTOUCHED)


@pytest.mark.parametrize(
    ("name", "wanted", "rate", "channels", "words"),
    [("x.opus", OutputFormat(), 44100, 1, "OPUS holds 8000, .* Hz, but the source has 44100 Hz; choose another format"),
     ("x.mp3", OutputFormat(), 96000, 1, "MPEG_LAYER_III holds .* but the source has 96000 Hz; choose another format"),
     ("x.mp3", OutputFormat(), 48000, 3, "MPEG_LAYER_III holds up to 2 channels, but the source has 3; choose another"),
     ("x.ogg", OutputFormat("opus"), 44100, 1, "OPUS holds 8000, .* Hz, but the source has 44100 Hz"),
     ("x.flac", OutputFormat(), 48000, 9, "FLAC holds up to 8 channels, but the source has 9; choose another format"),
     ("x.flac", OutputFormat(), 65537, 1,
      "FLAC holds rates up to 65535 Hz, and multiples of 10 up to 655350 Hz, but .* has 65537"),
     ("x.flac", OutputFormat(), 768000, 1, "FLAC holds rates up to 65535 Hz, .* but the source has 768000"),
     ("x.caf", OutputFormat(None, "alac16"), 48000, 9, "ALAC_16 holds up to 8 channels, but the source has 9")],
)  # fmt: skip
def test_what_a_format_has_not_is_said_before_the_work(
    tmp_path: Path, name: str, wanted: OutputFormat, rate: int, channels: int, words: str
) -> None:
    source = tmp_path / "in.wav"
    soundfile.write(source, np.stack([voice(0.1)] * channels, axis=1), rate)
    with pytest.raises(AudioFileError, match=words):
        restore_path(source, tmp_path / "new" / name, UNTOUCHED, wanted=wanted)
    assert left_in(tmp_path) == ["in.wav"]


def test_vorbis_at_too_high_a_rate_is_refused() -> None:
    """Not by trying: libsndfile would take the tests down with it."""
    with pytest.raises(AudioFileError, match=r"x\.ogg: VORBIS holds rates up to 200000 Hz, but the source has 200001"):
        check_fits(Path("x.ogg"), "OGG", "VORBIS", 200_001, 1)


@pytest.mark.parametrize(
    ("name", "subtype", "rate", "channels"),
    [("x.flac", None, 65535, 8), ("x.flac", None, 65540, 1), ("x.flac", None, 655350, 1), ("x.ogg", None, 200000, 1),
     ("x.ogg", None, 1000, 64), ("x.opus", None, 8000, 64), ("x.mp3", None, 8000, 2), ("x.caf", "alac16", 768000, 8)],
)  # fmt: skip
def test_what_a_format_just_holds(tmp_path: Path, name: str, subtype: str | None, rate: int, channels: int) -> None:
    source = tmp_path / "in.wav"
    soundfile.write(source, np.stack([voice(0.1)] * channels, axis=1), rate)
    restore_path(source, tmp_path / name, UNTOUCHED, wanted=OutputFormat(None, subtype))
    info = soundfile.info(tmp_path / name)
    assert (info.samplerate, info.channels, info.frames) == (rate, channels, 4800)


def test_a_folder_in_the_way_stops_its_own_files_alone(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        write(tmp_path / "in" / folder / "x.wav", voice(0.1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("in the way")
    summary = restore_path(tmp_path / "in", tmp_path / "out", UNTOUCHED)
    assert [result.target for result in summary.done] == [tmp_path / "out" / "b" / "x.wav"]
    assert len(summary.failed) == 1 and "a: can't be created" in summary.failed[0]
