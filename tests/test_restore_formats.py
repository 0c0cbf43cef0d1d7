"""What a restored file keeps, and what is refused: formats, tags, levels, rounding, damage."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.voices import voice
from timbre_restore.audio import rms
from timbre_restore.errors import AudioFileError, FormatError
from timbre_restore.runtime import PIPE, OutputFormat, Restorer, Treatment, restore_path
from timbre_restore.runtime.files import wav, writing
from timbre_restore.runtime.files.finish import REACH_S, Finish, Limiter, Rounding
from timbre_restore.runtime.files.formats import written_suffix
from timbre_restore.runtime.files.one import restore_file
from timbre_restore.runtime.files.reading import open_source

FloatArray = NDArray[np.float32]
RATE = 48_000
TAGS = {"title": "Tür", "artist": "A. Nobody", "album": "B", "date": "2020", "comment": "c", "genre": "g"}


class Straight:
    """A channel's way that changes nothing."""

    def push(self, samples: FloatArray) -> FloatArray:
        return samples

    def flush(self) -> FloatArray:
        return np.zeros(0, np.float32)


class Untouched:
    """A treatment that changes nothing: these tests are about what stands before and behind it."""

    streams = True

    def way(self, rate_hz: int) -> Straight:
        return Straight()


@pytest.fixture
def untouched() -> Treatment:
    return cast(Treatment, Untouched())


def write(path: Path, samples: FloatArray, subtype: str = "PCM_16", **tags: str) -> Path:
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(path, "w", RATE, channels, subtype) as file:
        for name, text in tags.items():
            setattr(file, name, text)
        file.write(samples)
    return path


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("x.wav", "PCM_U8"), ("x.wav", "PCM_16"), ("x.wav", "PCM_24"), ("x.wav", "FLOAT"), ("x.wav", "DOUBLE"),
     ("x.flac", "PCM_24"), ("x.aiff", "PCM_16"), ("x.au", "PCM_16"), ("x.caf", "PCM_24"), ("x.w64", "PCM_16"),
     ("x.rf64", "PCM_16")],
)  # fmt: skip
def test_what_is_not_changed_is_kept_to_the_last_bit(
    untouched: Treatment, tmp_path: Path, name: str, subtype: str
) -> None:
    """Level included: libsndfile's own rounding from floats would scale by 32767/32768. Dither has nothing to do."""
    source, target = write(tmp_path / name, voice(0.3), subtype), tmp_path / "out" / name
    restore_path(source, target, untouched)
    before, after = soundfile.info(source), soundfile.info(target)
    assert (after.format, after.subtype, after.frames) == (before.format, before.subtype, before.frames)
    assert np.array_equal(soundfile.read(source)[0], soundfile.read(target)[0])


@pytest.mark.parametrize(("name", "subtype"), [("x.ogg", "VORBIS"), ("x.opus", "OPUS"), ("x.mp3", "MPEG_LAYER_III")])
def test_compressed_containers_stay_what_they_are(
    untouched: Treatment, tmp_path: Path, name: str, subtype: str
) -> None:
    with soundfile.SoundFile(
        tmp_path / name, "w", RATE, 1, subtype, format=name[2:].upper().replace("OPUS", "OGG")
    ) as file:
        file.write(voice(1.0))
    restore_path(tmp_path / name, tmp_path / f"out-{name}", untouched)
    before, after = soundfile.info(tmp_path / name), soundfile.info(tmp_path / f"out-{name}")
    assert (after.format, after.subtype, after.frames) == (before.format, subtype, before.frames)
    assert rms(soundfile.read(tmp_path / f"out-{name}")[0]) == pytest.approx(rms(voice(1.0)), rel=0.1)


def test_alac_becomes_plain_numbers(untouched: Treatment, tmp_path: Path) -> None:
    """libsndfile takes the process down when it can't write ALAC."""
    source = write(tmp_path / "in.caf", voice(0.3), "ALAC_20")
    restore_path(source, tmp_path / "out.caf", untouched)
    assert soundfile.info(tmp_path / "out.caf").subtype == "PCM_24"
    assert np.array_equal(soundfile.read(source)[0], soundfile.read(tmp_path / "out.caf")[0])


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [("x.flac", OutputFormat("flac"), ("FLAC", "PCM_24")), ("x.wav", OutputFormat(None, "pcm16"), ("WAV", "PCM_16")),
     ("x.caf", OutputFormat(None, "alac_16"), ("CAF", "ALAC_16")), ("x.ogg", OutputFormat(), ("OGG", "VORBIS")),
     ("x.aif", OutputFormat(), ("AIFF", "FLOAT")), ("x.wav", OutputFormat("wav", "DOUBLE"), ("WAV", "DOUBLE"))],
)  # fmt: skip
def test_form_that_is_asked_for(
    untouched: Treatment, tmp_path: Path, name: str, wanted: OutputFormat, expected: tuple[str, str]
) -> None:
    source = write(tmp_path / "in.wav", voice(0.3), "FLOAT")
    restore_path(source, tmp_path / name, untouched, wanted=wanted)
    info = soundfile.info(tmp_path / name)
    assert (info.format, info.subtype) == expected
    assert rms(soundfile.read(tmp_path / name)[0] - voice(0.3)) < (0.05 if expected[1] == "VORBIS" else 1e-4)


@pytest.mark.parametrize(
    ("name", "wanted", "words"),
    [("x.flac", OutputFormat("wav"), r"x\.flac: ends in \.flac, but the requested format is wav"),
     ("x.opus", OutputFormat("ogg"), r"x\.opus: ends in \.opus, but the requested format is ogg"),
     ("x.opus", OutputFormat(None, "vorbis"), r"x\.opus: ends in \.opus, but the requested sample format is vorbis"),
     ("x.ogg", OutputFormat("opus", "vorbis"), "the format opus can't hold vorbis; omit the sample format, or choose"),
     ("-", OutputFormat("flac"), "standard output: carries wav or raw, not flac"),
     ("-", OutputFormat("raw", "vorbis"), "standard output: can't carry vorbis; expected one of pcmu8, pcm16"),
     ("x.flac", OutputFormat(None, "float"), "FLAC can't hold float; expected one of pcm16, pcm24"),
     ("x.wav", OutputFormat("m4a"), "'m4a' can't be written; expected one of wav"),
     ("x.wav", OutputFormat(None, "pcm17"), "'pcm17' is not a known sample format"),
     ("x", OutputFormat(), "expected a name ending in one of .wav")],
)  # fmt: skip
def test_form_that_can_not_be_had(
    untouched: Treatment, tmp_path: Path, name: str, wanted: OutputFormat, words: str
) -> None:
    """Whatever the source is: a wrong line, which ends with its status."""
    source = write(tmp_path / "in.wav", voice(0.1))
    with pytest.raises(FormatError, match=words) as caught:
        restore_path(source, PIPE if name == "-" else tmp_path / "new" / name, untouched, wanted=wanted)
    assert caught.value.exit_code == 2
    assert left_in(tmp_path) == ["in.wav"]


@pytest.mark.parametrize(
    ("name", "wanted", "subtype"),
    [("x.ogg", OutputFormat("opus"), "OPUS"), ("x.oga", OutputFormat("opus", "opus"), "OPUS"),
     ("x.opus", OutputFormat("opus"), "OPUS"), ("x.ogg", OutputFormat(None, "opus"), "OPUS"),
     ("x.ogg", OutputFormat("ogg"), "VORBIS"), ("x", OutputFormat("opus"), "OPUS")],
)  # fmt: skip
def test_opus_is_ogg_too(untouched: Treatment, tmp_path: Path, name: str, wanted: OutputFormat, subtype: str) -> None:
    source = write(tmp_path / "in.wav", voice(0.3))
    result = restore_path(source, tmp_path / name, untouched, wanted=wanted, into_folder=name == "x").done[0]
    assert result.target == tmp_path / (name if name != "x" else "x/in.opus")
    info = soundfile.info(result.target)
    assert (info.format, info.subtype) == ("OGG", subtype)


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.WAV", ".WAV"), ("a.flac", ".flac"), ("a.m4a", ".wav"), ("a.aifc", ".wav")]
)
def test_a_name_keeps_its_suffix_where_that_can_be_written(name: str, suffix: str) -> None:
    assert written_suffix(Path(name), OutputFormat()) == suffix
    assert written_suffix(Path(name), OutputFormat("ogg")) == ".ogg"


@pytest.mark.parametrize("name", ["x.wav", "x.rf64", "x.flac", "x.ogg", "x.caf"])
def test_tags_come_along(untouched: Treatment, tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "in.flac", voice(0.2), **TAGS)
    restore_path(source, tmp_path / name, untouched)
    with soundfile.SoundFile(tmp_path / name) as file:
        assert file.copy_metadata() == TAGS


def test_containers_without_a_place_for_tags_go_without(untouched: Treatment, tmp_path: Path) -> None:
    source = write(tmp_path / "in.flac", voice(0.2), **TAGS)
    for name, kept in [("x.au", {}), ("x.mp3", {name: text for name, text in TAGS.items() if text.isascii()})]:
        restore_path(source, tmp_path / name, untouched)
        with soundfile.SoundFile(tmp_path / name) as file:
            assert {key: text for key, text in file.copy_metadata().items() if text and key != "software"} == kept


# Levels


def test_a_float_file_keeps_its_peaks(untouched: Treatment, tmp_path: Path) -> None:
    samples = np.float32(5) * voice(0.3)
    source = write(tmp_path / "in.wav", samples, "FLOAT")
    summary = restore_path(source, tmp_path / "out.wav", untouched)
    assert np.array_equal(soundfile.read(tmp_path / "out.wav", dtype="float32")[0], samples)
    assert summary.done[0].limited_samples == 0


def peaky() -> FloatArray:
    samples = np.stack([voice(1.0, 1), voice(1.0, 2)], axis=1)
    samples[[5000, 20_000, 20_050, 47_999], [0, 1, 0, 1]] = 1.5, -3.0, 1.2, 2.0
    return samples


def limited(samples: FloatArray, chunk: int) -> FloatArray:
    limiter = Limiter(RATE, samples.shape[1])
    parts = [limiter.push(samples[start : start + chunk]) for start in range(0, len(samples), chunk)]
    assert limiter.limited_samples == 4
    return np.concatenate([*parts, limiter.flush()])


def test_the_limiter_takes_peaks_down_and_nothing_else() -> None:
    samples = peaky()
    out = limited(samples, len(samples))
    assert np.abs(out).max() <= 1.0
    assert out.shape == samples.shape
    far = np.ones(len(samples), bool)
    for peak in (5000, 20_000, 20_050, 47_999):
        reach = 2 * round(REACH_S * RATE)
        far[max(0, peak - reach) : peak + reach + 1] = False
    assert np.array_equal(out[far], samples[far])
    # One gain for all channels, which moves smoothly: no sample is cut where its neighbours are not.
    near = np.abs(samples).min(axis=1) > 1e-3
    gains = out[near] / samples[near]
    assert np.abs(gains[:, 0] - gains[:, 1]).max() < 1e-5
    assert np.abs(np.diff(out[:, 0] / np.where(samples[:, 0] == 0, 1, samples[:, 0]))[4900:5100]).max() < 0.01


@pytest.mark.parametrize("chunk", [1, 100, 777, 24_000])
def test_the_limiter_does_not_depend_on_the_blocks(chunk: int) -> None:
    samples = peaky()[:24_000] if chunk == 1 else peaky()
    if chunk == 1:
        samples[-1, 1] = 2.0
    assert np.abs(limited(samples, chunk) - limited(samples, len(samples))).max() < 1e-7


def test_dither_makes_the_error_independent_of_the_signal() -> None:
    """A sine of less than half a step is lost without it, and stands in the spectrum with it, with no harmonics."""
    step = 2.0**-15
    sine = (0.4 * step * np.sin(2 * np.pi * 1000 * np.arange(10 * RATE) / RATE)).astype(np.float32)[:, None]
    whole = Rounding(16, 1)(sine)[:, 0] / 65536
    assert np.abs(whole).max() == 1  # rint(0.4 + 1) at most
    spectrum = np.abs(np.fft.rfft(whole)) / len(whole) * 2
    assert spectrum[10_000] == pytest.approx(0.4, rel=0.05)
    assert spectrum[30_000] < 0.01
    error = whole - sine[:, 0] / step
    assert np.var(error) == pytest.approx(0.25, rel=0.02)  # TPDF 1/6 + rounding 1/12
    assert np.var(error[np.abs(sine[:, 0]) > 0.3 * step]) == pytest.approx(0.25, rel=0.03)


def test_dither_is_the_same_for_any_blocks_and_differs_between_channels() -> None:
    samples = np.repeat(voice(0.5)[:, None], 2, axis=1) * np.float32(0.9)
    whole, parts = Finish("PCM_16", RATE, 2), Finish("PCM_16", RATE, 2)
    once = np.concatenate([whole.push(samples), whole.flush()])
    pieces = [parts.push(samples[start : start + 500]) for start in range(0, len(samples), 500)]
    assert np.array_equal(once, np.concatenate([*pieces, parts.flush()]))
    assert not np.array_equal(once[:, 0], once[:, 1])
    assert np.abs(once / 2.0**31 - samples).max() < 2 * 2.0**-15
    assert np.array_equal(np.unique(once % 65536), [0])


def test_silence_stays_silent_and_24_bits_get_no_dither() -> None:
    assert not Rounding(16, 1)(np.zeros((1000, 1), np.float32)).any()
    samples = voice(0.1)[:, None]
    exact = np.clip(np.rint(samples.astype(np.float64) * 2**23), -(2**23), 2**23 - 1)
    assert np.array_equal(Rounding(24, 1)(samples), exact.astype(np.int64) * 256)
    assert Rounding(16, 1)(np.array([[1.0], [-1.0]], np.float32)).tolist() == [[32767 * 65536], [-32768 * 65536]]


# Large files


def test_a_wav_that_would_pass_4_gib_is_rf64(
    untouched: Treatment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "in.wav", voice(0.3))
    monkeypatch.setattr(wav, "LARGEST_SIZE", 10_000)
    restore_path(source, tmp_path / "out.wav", untouched)
    assert (tmp_path / "out.wav").read_bytes()[:4] == b"RF64"
    assert np.array_equal(soundfile.read(source)[0], soundfile.read(tmp_path / "out.wav")[0])

    class Broken(Untouched):
        def way(self, rate_hz: int) -> Straight:
            raise AssertionError("an hour of work for a file that can't be")

    with pytest.raises(AudioFileError, match="would exceed 4 GiB, the limit of AIFF; write a wav file"):
        restore_path(source, tmp_path / "out.aiff", Broken())
    assert left_in(tmp_path) == ["in.wav", "out.wav"]


@pytest.mark.parametrize("subtype", ["ima_adpcm", "ms_adpcm", "gsm610"])
def test_what_only_a_plain_wav_holds_goes_into_one(untouched: Treatment, tmp_path: Path, subtype: str) -> None:
    """WAVEX is what wavs of 24 bits or several channels often are."""
    for container in ("WAVEX", "RF64", "WAV"):
        soundfile.write(tmp_path / "in.wav", voice(0.3), RATE, "PCM_24", format=container)
        restore_path(tmp_path / "in.wav", tmp_path / "out.wav", untouched, wanted=OutputFormat(None, subtype))
        info = soundfile.info(tmp_path / "out.wav")
        assert (info.format, info.subtype) == ("WAV", subtype.upper())


def test_a_minute_at_once_is_written_as_vorbis(tmp_path: Path) -> None:
    """In a process of its own: libvorbis lays what it is given at once on the stack, and would end it."""
    write(tmp_path / "in.wav", np.tile(voice(1.0), 60))
    script = (
        "import sys; from pathlib import Path; from timbre_restore.runtime import Restorer, Treatment, restore_path; "
        "treatment = Treatment(Restorer.load('tiny'), lambda noisy: noisy, strength=0.0); "
        "restore_path(Path(sys.argv[1]), Path(sys.argv[2]), treatment)"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "in.wav"), str(tmp_path / "out.ogg")]
    assert subprocess.run(words, check=False).returncode == 0
    assert soundfile.info(tmp_path / "out.ogg").frames == 60 * RATE


def test_work_that_is_done_at_the_end_is_told_at_the_end(tmp_path: Path) -> None:
    """Else a bar would stand at its end for minutes, and a wish to stop would wait for all channels."""
    write(tmp_path / "in.wav", np.stack([voice(12.0)] * 2, axis=1))
    told: list[tuple[float, bool]] = []
    worked: list[int] = []

    def suppress(noisy: FloatArray) -> FloatArray:
        worked.append(len(noisy))
        return noisy

    def heard(seconds: float) -> None:
        told.append((seconds, len(worked) > 0))
        if len(worked) == 1 and seconds:
            raise KeyboardInterrupt

    treatment = Treatment(Restorer.load("tiny"), suppress, strength=0.0)
    with pytest.raises(KeyboardInterrupt):
        restore_file(tmp_path / "in.wav", tmp_path / "out.wav", treatment, OutputFormat(), heard=heard)
    assert [seconds for seconds, done in told if done] == [6.0] and not sum(s for s, done in told if not done)
    assert len(worked) == 1 and left_in(tmp_path) == ["in.wav"]


def test_memory_does_not_grow_with_the_length(untouched: Treatment, tmp_path: Path) -> None:
    """Four minutes are 46 MB of samples; what is held is a few blocks of five seconds."""
    source = write(tmp_path / "in.wav", np.tile(voice(4.0), 60))
    tracemalloc.start()
    try:
        restore_path(source, tmp_path / "out.wav", untouched)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20e6 and soundfile.info(tmp_path / "out.wav").frames == 240 * RATE


def test_64_bits_beyond_32_are_no_sound() -> None:
    """And no warning of numpy's with a line of code in it, which is an error here."""
    assert np.isinf(wav.decode(np.array([1e300]).tobytes(), wav.Header(RATE, 1, "DOUBLE", None)))


@pytest.mark.parametrize("large", [False, True])
def test_a_length_that_is_not_known_before(
    untouched: Treatment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """Begun as RF64; a plain WAV when it has stayed small."""
    plain = write(tmp_path / "plain.wav", voice(0.3))
    content = bytearray(plain.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", 0xFFFF_FFFF)
    (tmp_path / "in.wav").write_bytes(content)
    monkeypatch.setattr("timbre_restore.runtime.files.reading._opened", lambda *_: (None, {}))
    if large:
        monkeypatch.setattr(wav, "LARGEST_SIZE", 10_000)
    restore_path(tmp_path / "in.wav", tmp_path / "out.wav", untouched)
    info = soundfile.info(tmp_path / "out.wav")
    assert (tmp_path / "out.wav").read_bytes()[:4] == (b"RF64" if large else b"RIFF")
    assert info.subtype == "PCM_16"
    assert np.array_equal(soundfile.read(plain)[0], soundfile.read(tmp_path / "out.wav")[0])


@pytest.mark.parametrize(("size", "unknown"), [(0x7FFF_F000, True), (0x7FFF_EFFC, True), (0x8400_0000, False)])
def test_a_wav_of_more_than_2_gib_is_read_to_its_end(tmp_path: Path, size: int, unknown: bool) -> None:
    """What sox leaves in front where it can't go back is no length; what fits the file is one."""
    path = tmp_path / "in.wav"
    header = bytearray(wav.header_bytes(wav.Header(RATE, 2, "PCM_24", 0)))
    header[4:8], header[-4:] = struct.pack("<I", size + 36), struct.pack("<I", size)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + (0x8800_0000 if unknown else size) + 30)  # sparse: nothing lies on the disk
    with open_source(path) as sound:
        assert sound.samples == (None if unknown else size // 6)
        assert next(sound.blocks).shape == (5 * RATE, 2)


@pytest.mark.parametrize("name", ["x.mp3", "x.ogg", "x.flac", "x.wav"])
def test_an_interruption_while_a_block_is_encoded_leaves_nothing(
    untouched: Treatment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """libsndfile writes through Python, which drops what a signal's handler raises there."""
    source, written = write(tmp_path / "in.wav", voice(4.0)), iter(range(1_000_000))
    plain = writing._Disk.write

    def interrupted(self: writing._Disk, content: object) -> int:
        if next(written) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, content)

    monkeypatch.setattr(writing._Disk, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        restore_path(source, tmp_path / name, untouched)
    assert next(written) > 1
    assert left_in(tmp_path) == ["in.wav"]


@pytest.mark.parametrize("subtype", ["G721_32", "G723_24", "G723_40"])
def test_codes_that_turn_peaks_over_are_only_read(untouched: Treatment, tmp_path: Path, subtype: str) -> None:
    """libsndfile's coders give a steep peak back with the opposite sign, which is a click of twice full scale."""
    source = write(tmp_path / "in.au", voice(1.0), subtype)
    restore_path(source, tmp_path / "out.au", untouched)
    assert soundfile.info(tmp_path / "out.au").subtype == "PCM_24"
    with pytest.raises(FormatError, match="AU can't hold g72"):
        restore_path(source, tmp_path / "asked.au", untouched, wanted=OutputFormat(subtype=subtype.lower()))


# Damage


@pytest.mark.parametrize("name", ["x.wav", "x.rf64", "x.flac", "x.ogg", "x.opus", "x.mp3", "x.aiff", "x.au", "x.w64"])
def test_a_file_that_is_cut_off(
    untouched: Treatment, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no ffmpeg, which would take some of them for whole
    kind = {"opus": "OGG"}.get(name[2:], name[2:].upper())
    with soundfile.SoundFile(tmp_path / name, "w", RATE, 1, "OPUS" if "opus" in name else None, format=kind) as file:
        file.write(voice(2.0))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(AudioFileError, match=r"x\..*copy the file again") as caught:
        restore_path(tmp_path / name, tmp_path / f"out-{name}", untouched)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == [name]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_streams_one_behind_the_other_are_not_shortened_to_the_first(
    untouched: Treatment, tmp_path: Path, subtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `cat a.ogg b.ogg` makes: libsndfile reads the first one, as if there was no more."""
    monkeypatch.setenv("PATH", str(tmp_path))  # no ffmpeg, which reads both
    for name, seconds in (("a", 2.0), ("b", 1.0)):
        soundfile.write(tmp_path / f"{name}.ogg", voice(seconds), RATE, subtype, format="OGG")
        restore_path(tmp_path / f"{name}.ogg", tmp_path / f"{name}.wav", untouched)
    content = {name: (tmp_path / f"{name}.ogg").read_bytes() for name in "ab"}
    for names in ("ab", "ba", "aa"):
        (tmp_path / "in.ogg").write_bytes(b"".join(content[name] for name in names))
        with pytest.raises(AudioFileError, match=r"in\.ogg: holds several streams, .*; install ffmpeg"):
            restore_path(tmp_path / "in.ogg", tmp_path / "out.ogg", untouched)
    assert left_in(tmp_path) == ["a.ogg", "a.wav", "b.ogg", "b.wav", "in.ogg"]


def test_an_ogg_without_its_last_page(untouched: Treatment, tmp_path: Path) -> None:
    """Whole pages, so that nothing but the missing mark of the end tells."""
    soundfile.write(tmp_path / "in.ogg", voice(2.0), RATE)
    content = (tmp_path / "in.ogg").read_bytes()
    (tmp_path / "in.ogg").write_bytes(content[: content.rindex(b"OggS")])
    with pytest.raises(AudioFileError, match=r"in\.ogg: is cut off: its last page is missing; copy the file again"):
        restore_path(tmp_path / "in.ogg", tmp_path / "out.ogg", untouched)


@pytest.mark.parametrize("value", [np.inf, 1e25, -7e4])
def test_what_is_no_sound_in_a_file_is_named_with_its_place(untouched: Treatment, tmp_path: Path, value: float) -> None:
    samples = voice(6.0)
    samples[5 * RATE + 4800] = value  # in the second block
    source = write(tmp_path / "in.wav", samples, "FLOAT")
    words = r"in\.wav: holds samples that are NaN, infinite or beyond ±65536 \(the first at 5\.100 s\)"
    with pytest.raises(AudioFileError, match=words):
        restore_path(source, tmp_path / "out.wav", untouched)
    assert left_in(tmp_path) == ["in.wav"]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Files of this process can't grow beyond so many bytes."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("name", ["out.wav", "out.flac", "out.ogg"])
def test_a_full_disk_is_one_sentence(untouched: Treatment, tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 20 * RATE).astype(np.float32)
    source = write(tmp_path / "in.wav", noise)
    words = rf"{name}: can't be written \(.*\); check .* that the disk is not full"
    with disk_of(60_000), pytest.raises(AudioFileError, match=words):
        restore_path(source, tmp_path / name, untouched)
    assert left_in(tmp_path) == ["in.wav"]


@pytest.mark.parametrize("name", ["out.wav", "out.flac", "out.ogg", "out.opus", "out.mp3", "out.caf", "out.rf64"])
def test_a_disk_that_fills_at_the_very_end_is_met(untouched: Treatment, tmp_path: Path, name: str) -> None:
    """libsndfile's encoders write their last page while they close, and do not say that they could not."""
    source = write(tmp_path / "in.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE).astype(np.float32))
    restore_path(source, tmp_path / name, untouched)
    size = (tmp_path / name).stat().st_size
    (tmp_path / name).unlink()
    for missing in (1, 300):
        with (
            disk_of(size - missing),
            pytest.raises(AudioFileError, match=rf"{name}: can't be written \(File too large"),
        ):
            restore_path(source, tmp_path / name, untouched)
        assert left_in(tmp_path) == ["in.wav"]
    with disk_of(size):
        restore_path(source, tmp_path / name, untouched)


def test_another_error_is_not_taken_for_the_disks(tmp_path: Path) -> None:
    class Broken(Untouched):
        def way(self, rate_hz: int) -> Straight:
            raise ValueError("a mistake of ours")

    source = write(tmp_path / "in.wav", voice(0.1))
    with pytest.raises(ValueError, match="a mistake of ours"):
        restore_path(source, tmp_path / "out.wav", cast(Treatment, Broken()))
    assert left_in(tmp_path) == ["in.wav"]


# ffmpeg


FAKE = """#!/bin/sh
case "$*" in *-i\\ file:*.m4a\\ -map\\ 0:a:0*) ;; *) echo "wrong line: $*" >&2; exit 1;; esac
{body}
"""


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, whose body a test writes; it decodes `decoded.wav`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "ffmpeg"


def pretend(program: Path, body: str) -> None:
    program.write_text(FAKE.format(body=body))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_what_libsndfile_does_not_read_goes_through_ffmpeg(
    untouched: Treatment, tmp_path: Path, fake_ffmpeg: Path
) -> None:
    decoded = write(tmp_path / "decoded.wav", voice(7.0), "FLOAT", title="T")
    pretend(fake_ffmpeg, f"cat '{decoded}'")
    (tmp_path / "film.m4a").write_bytes(b"not for libsndfile")
    (tmp_path / "out").mkdir()
    result = restore_path(tmp_path / "film.m4a", tmp_path / "out", untouched).done[0]
    assert result.target == tmp_path / "out" / "film.wav"
    with soundfile.SoundFile(result.target) as file:
        assert (file.format, file.subtype, file.title) == ("WAV", "FLOAT", "T")
        assert np.array_equal(file.read(dtype="float32"), voice(7.0))


@pytest.mark.parametrize(
    ("body", "words"),
    [("echo 'no such codec' >&2; exit 1", r"can't be read as audio .* \(ffmpeg: no such codec\)"),
     (
         "head -c 100000 {wav}; echo 'x: broken here.' >&2; exit 1",
         r"ffmpeg can't decode the whole file \(x: broken here\)",
     ),
     ("head -c 100000 {wav}; kill -9 $$", r"ffmpeg can't decode the whole file \(it ended with status -9\)"),
     ("cat {wav}; echo '[matroska @ 0x55] File ended prematurely' >&2", r"whole file \(File ended prematurely\)"),
     ("head -c 100001 {wav}", r"is cut off after \d+ of 336000 samples"),
     ("exit 0", "can't be read as audio|is empty")],
)  # fmt: skip
def test_an_ffmpeg_that_fails(untouched: Treatment, tmp_path: Path, fake_ffmpeg: Path, body: str, words: str) -> None:
    decoded = write(tmp_path / "decoded.wav", voice(7.0), "FLOAT")
    pretend(fake_ffmpeg, body.format(wav=decoded))
    (tmp_path / "in.m4a").write_bytes(b"not for libsndfile")
    before = left_in(tmp_path)
    with pytest.raises(AudioFileError, match=words) as caught:
        restore_path(tmp_path / "in.m4a", tmp_path / "out.wav", untouched)
    assert "in.m4a" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == before


def test_without_ffmpeg_the_remedy_is_named(
    untouched: Treatment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "in.m4a").write_bytes(b"something")
    with pytest.raises(AudioFileError, match=r"in\.m4a: can't be read as audio .*; install ffmpeg"):
        restore_path(tmp_path / "in.m4a", tmp_path / "out.wav", untouched)


def test_the_real_ffmpeg(untouched: Treatment, tmp_path: Path) -> None:
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("ffmpeg is not installed here; a made program stands in for it in the other tests")
    source = write(tmp_path / "in.flac", np.stack([voice(2.0, 1), voice(2.0, 2)], axis=1), **TAGS)
    film = tmp_path / "in.m4a"
    assert os.spawnv(os.P_WAIT, program, [program, "-nostdin", "-v", "error", "-i", str(source), str(film)]) == 0
    restore_path(film, tmp_path / "out.wav", untouched)
    with soundfile.SoundFile(tmp_path / "out.wav") as file:
        assert (file.samplerate, file.channels, file.subtype) == (RATE, 2, "FLOAT")
        assert abs(file.frames - 2 * RATE) <= 2048
        assert file.copy_metadata() == TAGS
        samples = file.read(dtype="float32")
    assert rms(samples[:90_000, 0] - voice(2.0, 1)[:90_000]) < 0.3 * rms(voice(2.0, 1))
    film.write_bytes(film.read_bytes()[:-3000])
    with pytest.raises(AudioFileError, match="ffmpeg"):
        restore_path(film, tmp_path / "cut.wav", untouched)
