"""Sound as numbers: files come back as they went, levels and spectra are what their formulas say."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.voices import FloatArray, noise, voice
from timbre_restore.atomic import replacing, write_text
from timbre_restore.audio import (
    Pair,
    active_rms,
    fast_length,
    from_db,
    hann,
    lag_and_share,
    lag_samples,
    locate_packed,
    packed_name,
    read_audio,
    read_info,
    read_mono,
    read_packed,
    resample,
    rms,
    sounding_channel,
    stft,
    to_db,
    write_audio,
)
from timbre_restore.errors import AudioFileError


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_sixteen_bit_files_keep_every_value(tmp_path: Path, suffix: str) -> None:
    every = np.arange(-32768, 32768).astype(np.float32) / 32768
    write_audio(tmp_path / f"x{suffix}", every, 44100)
    samples, rate = read_audio(tmp_path / f"x{suffix}")
    assert rate == 44100
    assert np.array_equal(samples, every[None])


def test_channels_come_first_and_parts_can_be_read(tmp_path: Path) -> None:
    both = np.stack([voice(0.1), noise(0.1)])
    write_audio(tmp_path / "x.wav", both, 48000, subtype="FLOAT")
    samples, _ = read_audio(tmp_path / "x.wav", start=100, length=50)
    assert np.array_equal(samples, both[:, 100:150])
    assert np.array_equal(read_mono(tmp_path / "x.wav"), both[0])
    assert read_info(tmp_path / "x.wav").channels == 2


def test_equal_signals_are_equal_files(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write_audio(tmp_path / name, voice(0.2), 48000)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_file_that_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="can't be written"):
        write_audio(tmp_path / "x.unknown", voice(0.1), 48000)
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    write_audio(tmp_path / "cut.flac", noise(2.0), 48000)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "cut.flac").read_bytes()[:20000])
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), 48000, subtype="FLOAT")
    for name, reason in {"absent.wav": "no such file", "text.wav": "can't be read as audio", "nan.wav": "NaN"}.items():
        with pytest.raises(AudioFileError, match=reason) as caught:
            read_audio(tmp_path / name)
        assert str(caught.value).count(str(tmp_path)) == 1
    with pytest.raises(AudioFileError):
        read_audio(tmp_path / "cut.flac")
    with pytest.raises(AudioFileError, match="no such file"):
        read_info(tmp_path / "absent.wav")


def test_a_wav_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    """libsndfile mends its header and reads what is left, as if there had been no more."""
    write_audio(tmp_path / "x.wav", noise(1.0), 48000)
    (tmp_path / "x.wav").write_bytes((tmp_path / "x.wav").read_bytes()[:50000])
    assert soundfile.info(tmp_path / "x.wav").frames < 48000
    for read in (read_audio, read_info, read_mono):
        with pytest.raises(AudioFileError, match=r"x\.wav: is cut off after 50000 of 96044 bytes; copy the file again"):
            read(tmp_path / "x.wav")


@pytest.mark.parametrize(("length", "said"), [(0, "does not state its length"), (15, "more than fit into memory")])
def test_a_flac_with_an_odd_length_in_its_header_is_refused(tmp_path: Path, length: int, said: str) -> None:
    """As ffmpeg leaves one behind a pipe; and with four bits of the 36 set by accident."""
    path = tmp_path / "x.flac"
    write_audio(path, noise(0.5), 48000)
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | length  # STREAMINFO, RFC 9639, section 8.2
    content[22:26] = bytes(4) if length == 0 else content[22:26]
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match=said):
        read_audio(path)
    if length == 0:
        with pytest.raises(AudioFileError, match=said):
            read_info(path)


@pytest.mark.parametrize(
    ("levels", "chosen"), [((1, 1), 0), ((0, 1), 1), ((1, 0), 0), ((1e-4, 1), 1), ((0.01, 1), 0), ((0, 0), 0)]
)
def test_a_silent_channel_stands_for_nothing(tmp_path: Path, levels: tuple[float, ...], chosen: int) -> None:
    both = np.stack([level * voice(0.5, seed=n) for n, level in enumerate(levels)]).astype(np.float32)
    assert sounding_channel(both) == chosen
    assert sounding_channel(both[:, :0]) == 0
    soundfile.write(tmp_path / "x.wav", both.T, 48000, subtype="FLOAT")
    assert np.array_equal(read_mono(tmp_path / "x.wav"), both[chosen])


def test_names_that_are_no_text_can_be_read(tmp_path: Path) -> None:
    write_audio(tmp_path / "x.wav", voice(0.1), 48000)
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    try:
        (tmp_path / "x.wav").rename(strange)
    except OSError:
        pytest.skip("this file system holds only names that are text")
    assert read_info(strange).samples == 4800


@pytest.mark.parametrize(("start", "end"), [(44100, 48000), (48000, 44100), (96000, 48000)])
def test_a_tone_keeps_pitch_level_and_place(start: int, end: int) -> None:
    def tone(rate: int) -> FloatArray:
        return (0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)).astype(np.float32)

    middle = slice(end // 4, 3 * end // 4)
    assert np.max(np.abs(resample(tone(start), start, end)[middle] - tone(end)[middle])) < 1e-4


def test_what_a_lower_rate_can_not_hold_dies() -> None:
    high = np.sin(2 * np.pi * 23000 * np.arange(48000) / 48000).astype(np.float32)
    assert to_db(rms(resample(high, 48000, 44100)[4410:-4410])) < -90


def test_levels() -> None:
    assert to_db(rms(np.full(1000, -0.5, np.float32))) == pytest.approx(-6.0206, abs=1e-3)
    assert from_db(to_db(0.3)) == pytest.approx(0.3)
    assert to_db(0.0) == -200.0
    assert rms(np.zeros(0, np.float32)) == active_rms(np.zeros(4800, np.float32)) == 0.0


def test_active_level_ignores_pauses() -> None:
    speech = noise(1.0, level=0.1)
    paused = np.concatenate([speech, np.zeros(96000, np.float32)])
    assert active_rms(paused) == pytest.approx(active_rms(speech), rel=1e-6)
    assert rms(paused) < 0.6 * rms(speech)


def test_spectrum_is_the_windowed_transform() -> None:
    samples = noise(0.2)
    spectra = stft(samples, 512, 128)
    assert spectra.shape == (257, 1 + (len(samples) - 512) // 128)
    assert np.allclose(spectra[:, 3], np.fft.rfft(samples[384:896] * hann(512)))
    assert stft(samples[:100], 512, 128).shape == (257, 1)


@pytest.mark.parametrize("delay", [-700, -1, 0, 1, 480, 1440])
def test_lag_is_the_delay(delay: int) -> None:
    speech = voice(1.0, seed=2)
    moved = np.roll(speech, delay) + noise(1.0, level=0.01)
    assert lag_samples(moved, speech) == delay


def test_lag_of_silence_is_none() -> None:
    assert lag_samples(np.zeros(100, np.float32), voice(0.1)) == 0


def test_the_share_is_what_the_signal_holds_of_the_reference() -> None:
    speech = voice(1.0, seed=2)
    moved = np.float32(0.3) * np.roll(speech, 30) + noise(1.0, level=0.01)
    lag, share = lag_and_share(moved, speech)
    assert lag == 30 and share == pytest.approx(0.3, rel=0.05)
    assert abs(lag_and_share(noise(1.0, level=0.01), speech)[1]) < 0.03
    assert lag_and_share(np.zeros(100, np.float32), speech) == (0, 0.0)


@pytest.mark.parametrize("stem", ["a" * 245, "n." + "a" * 243])
def test_names_as_long_as_names_can_be_are_written(tmp_path: Path, stem: str) -> None:
    write_audio(tmp_path / f"{stem}.wav", voice(0.1), 48000)
    write_text(tmp_path / stem, "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{stem}.wav", stem])


def test_a_temporary_name_is_of_one_target_and_is_found_by_the_cleaning(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.wav") as one, replacing(tmp_path / "b.wav") as other:
        one.touch()
        other.touch()
        assert one != other
        assert sorted(tmp_path.glob(".*.tmp*")) == sorted([one, other])
        assert one.suffix == ".wav"


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files fails as a full disk does, in the middle of a write."""
    resource = pytest.importorskip("resource", reason="needs limits of POSIX")
    write_audio(tmp_path / "x.wav", voice(0.1), 48000)
    before, limits = (tmp_path / "x.wav").read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(AudioFileError, match=r"x\.wav: can't be written \(File too large\); check") as caught:
            write_audio(tmp_path / "x.wav", voice(1.0), 48000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]
    assert (tmp_path / "x.wav").read_bytes() == before


def test_a_packed_item_is_read_from_where_the_list_says(tmp_path: Path) -> None:
    file = tmp_path / "train@x.pcm"
    np.arange(100, dtype="<i2").tofile(file)
    pair = Pair(packed_name(file, 10), packed_name(file, 30), line=1)
    assert locate_packed(pair.noisy) == (file, 50)
    assert np.array_equal(read_packed(pair.noisy, 5), np.arange(50, 55))
    assert locate_packed(tmp_path / "item.wav") is None
    with pytest.raises(AudioFileError, match="ends at sample 100"):
        read_packed(pair.noisy, 51)
    with pytest.raises(AudioFileError, match="can't be read"):
        read_packed(packed_name(tmp_path / "absent.pcm", 0), 1)


def test_a_packed_file_that_was_made_anew_is_opened_anew(tmp_path: Path) -> None:
    file = tmp_path / "a.pcm"
    for value in (1, 2):
        np.full(10, value, dtype="<i2").tofile(file)
        os.utime(file, ns=(value, value))
        assert read_packed(packed_name(file, 0), 10)[0] == value


def test_fast_length_is_the_next_with_small_factors_alone() -> None:
    smooth = sorted(2**a * 3**b * 5**c for a in range(12) for b in range(8) for c in range(6))
    for samples in (1, 2, 7, 17, 97, 1000, 1001, 4801):
        assert fast_length(samples) == next(length for length in smooth if length >= samples)
