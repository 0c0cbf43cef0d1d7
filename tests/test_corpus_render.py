"""One take: levels, rooms, gains and cuts, seen through a suppressor that does nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.voices import FloatArray, noise, voice
from timbre_restore.audio import active_rms, from_db, rms, to_db
from timbre_restore.corpus.draw import Draw
from timbre_restore.corpus.render import (
    EARLY_SAMPLES,
    Rendered,
    TakeSkipped,
    bandwidth_hz,
    convolve,
    direct_path_first,
    from_pcm,
    in_room,
    load_noise,
    load_speech,
    render,
    to_pcm,
)
from timbre_restore.suppressors.base import one_by_one

DRAW = Draw(speech_level_dbfs=-25.0, snr_db=10.0, rooms=(), noises=("hum.wav",), noise_position=0.3)
SEGMENT = 48000


@dataclass(frozen=True)
class Nothing:
    """A suppressor that suppresses nothing, or makes everything louder."""

    gain: float = 1.0
    name: str = "nothing"
    sample_rate_hz: int = 48000
    latency_samples: int = 1440
    licence: str = "Apache-2.0"
    build: str = "nothing 1"

    def __call__(self, noisy: FloatArray) -> FloatArray:
        return noisy * np.float32(self.gain)

    def with_hints(self, noisy: FloatArray) -> tuple[FloatArray, None]:
        return self(noisy), None

    def many(self, signals: Iterable[FloatArray]) -> Iterator[tuple[int, FloatArray, None]]:
        return one_by_one(self.with_hints, signals)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("render")
    soundfile.write(root / "voice.wav", voice(2.5, seed=1), 48000)
    soundfile.write(root / "hum.wav", noise(1.3, seed=2), 48000)
    soundfile.write(root / "room.wav", response(), 48000, subtype="FLOAT")
    return root


def response() -> FloatArray:
    """A room: 20 ms of travel, a negative direct sound, a second of decay."""
    rng = np.random.default_rng(4)
    tail = rng.standard_normal(48000) * np.exp(-np.arange(48000) / 9000) * 0.1
    tail[0] = -0.5
    return np.concatenate([rng.standard_normal(960) * 1e-4, tail]).astype(np.float32)


def made(here: Path, draw: Draw = DRAW, *, file: str = "voice.wav", gain: float = 1.0) -> Rendered:
    return render(here / file, draw, here, here, Nothing(gain), SEGMENT)


def whole(items: np.ndarray) -> FloatArray:
    return from_pcm(items[:, :SEGMENT].reshape(-1))


def test_items_are_consecutive_seconds_and_the_tail_is_dropped(here: Path) -> None:
    items = made(here)
    assert items.degraded.shape == items.clean.shape == (2, SEGMENT)
    assert items.noisy.shape == (2, SEGMENT + 1440)
    assert np.array_equal(items.noisy[0, SEGMENT:], items.noisy[1, :1440])
    assert np.any(items.noisy[1, SEGMENT:])  # the recording goes on for half a second


def test_noisy_ends_with_zeros_where_the_recording_ends(here: Path) -> None:
    soundfile.write(here / "exact.wav", voice(2.0, seed=1), 48000)
    assert not np.any(made(here, file="exact.wav").noisy[1, SEGMENT:])


def test_degraded_is_the_suppressed_stored_noisy(here: Path) -> None:
    items = made(here)
    assert np.array_equal(items.degraded, items.noisy[:, :SEGMENT])


def test_speech_has_its_level_and_noise_its_distance(here: Path) -> None:
    soundfile.write(here / "exact.wav", voice(2.0, seed=1), 48000)
    items = made(here, file="exact.wav")
    clean, noisy = whole(items.clean), whole(items.noisy)
    assert to_db(active_rms(clean)) == pytest.approx(-25.0, abs=0.05)
    assert to_db(rms(clean) / rms(noisy - clean)) == pytest.approx(10.0, abs=0.05)
    assert items.applied.gain_db == 0.0


def test_speech_in_a_room_has_its_level_there(here: Path) -> None:
    items = made(here, replace(DRAW, rooms=("room.wav",), snr_db=90.0))
    speech, _, _ = load_speech(here / "voice.wav", SEGMENT)
    reverberant, _ = in_room(speech, direct_path_first(response()))
    expected = reverberant[: 2 * SEGMENT] * (from_db(-25.0) / active_rms(reverberant))
    assert np.max(np.abs(whole(items.noisy) - expected)) < 1e-3
    assert items.applied.room == "room.wav"


def test_target_keeps_the_first_50_ms_of_the_room_and_its_instant() -> None:
    """A click in the room: both sides start with the direct sound, at 1, and part after 50 ms."""
    click = np.zeros(96000, dtype=np.float32)
    click[1000] = 1.0
    room = direct_path_first(response())
    reverberant, clean = in_room(click, room)
    assert room[0] == 1.0
    assert np.flatnonzero(np.abs(reverberant) > 0.5)[0] == np.flatnonzero(np.abs(clean) > 0.5)[0] == 1000
    assert np.allclose(clean[1000 : 1000 + EARLY_SAMPLES], reverberant[1000 : 1000 + EARLY_SAMPLES], atol=1e-6)
    assert np.max(np.abs(clean[1000 + EARLY_SAMPLES :])) < 1e-6
    assert rms(reverberant[1000 + EARLY_SAMPLES :]) > 1e-3


@pytest.mark.parametrize(("length", "taps"), [(1, 1), (100, 3000), (200_000, 7), (300_000, 50_000)])
def test_convolution_by_blocks_is_convolution(length: int, taps: int) -> None:
    rng = np.random.default_rng(0)
    signal, taps_ = (rng.standard_normal(n).astype(np.float32) for n in (length, taps))
    picked = rng.integers(0, length, 50)
    expected = [np.dot(taps_[: n + 1][::-1].astype(np.float64), signal[max(0, n + 1 - taps) : n + 1]) for n in picked]
    assert np.allclose(convolve(signal, taps_)[picked], expected, atol=1e-3)


@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_nothing_clips_and_one_gain_goes_to_all(here: Path, gain: float) -> None:
    """Loud speech in loud noise, or a suppressor that makes louder: all signals are turned down alike."""
    loud = replace(DRAW, speech_level_dbfs=-3.0, snr_db=-5.0)
    items = made(here, loud, gain=gain)
    quiet = made(here, replace(loud, speech_level_dbfs=-40.0), gain=gain)
    down = items.applied.gain_db
    assert down < 0.0
    for role in ("degraded", "clean", "noisy"):
        samples = from_pcm(getattr(items, role))
        assert np.max(np.abs(samples)) <= 0.9901
        assert to_db(rms(samples) / rms(from_pcm(getattr(quiet, role)))) == pytest.approx(37.0 + down, abs=0.05)
    assert np.max(np.abs(from_pcm(items.degraded))) > 0.9 or np.max(np.abs(from_pcm(items.noisy))) > 0.9


def test_equal_draws_give_equal_bytes(here: Path) -> None:
    one, other = (made(here, replace(DRAW, rooms=("room.wav",))) for _ in range(2))
    assert np.array_equal(one.noisy, other.noisy)
    assert one.applied == other.applied


def test_sixteen_bits_are_exact_both_ways() -> None:
    every = np.arange(-32768, 32768, dtype=np.int16)
    assert np.array_equal(to_pcm(from_pcm(every)), every)


def test_short_noise_goes_in_a_circle(here: Path) -> None:
    offset, stretch = load_noise(here / "hum.wav", 0.5, 100_000)
    assert offset == 31200
    hum = soundfile.read(here / "hum.wav", dtype="float32")[0]
    assert np.array_equal(stretch[:31200], hum[31200:])
    assert np.array_equal(stretch[31200 : 31200 + len(hum)], hum)


def test_long_noise_is_read_where_the_draw_says(here: Path) -> None:
    long = noise(3.0, seed=6)
    for rate in (48000, 44100):
        soundfile.write(here / f"long{rate}.wav", long, rate, subtype="FLOAT")
    offset, stretch = load_noise(here / "long48000.wav", 0.25, 48000)
    assert offset == int(0.25 * (len(long) - 48000))
    assert np.array_equal(stretch, long[offset : offset + 48000])
    assert len(load_noise(here / "long44100.wav", 0.999, 48000)[1]) == 48000


def test_unusable_noise_and_room_give_way_to_the_next(here: Path) -> None:
    (here / "torn.wav").write_bytes(b"RIFF nothing")
    soundfile.write(here / "still.wav", np.zeros(96000), 48000)
    draw = replace(DRAW, noises=("torn.wav", "still.wav", "hum.wav"), rooms=("torn.wav", "room.wav"))
    items = made(here, draw)
    assert (items.applied.noise, items.applied.room) == ("hum.wav", "room.wav")
    assert [entry[:2] for entry in items.rejected] == [
        ("room", "torn.wav"),
        ("noise", "torn.wav"),
        ("noise", "still.wav"),
    ]
    assert "silent where it was drawn: -200 dBFS" in items.rejected[-1][2]
    assert not any(str(here) in reason for _, _, reason in items.rejected)
    with pytest.raises(TakeSkipped, match="noises"):
        made(here, replace(DRAW, noises=("still.wav",)))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_rates_depths_and_channels_are_accepted(here: Path, subtype: str) -> None:
    speech = voice(2.0, seed=1)
    path = here / f"stereo_{subtype}.wav"
    soundfile.write(path, np.stack([speech, noise(2.0)], axis=1), 44100, subtype=subtype)
    got, rate, _ = load_speech(path, SEGMENT)
    assert rate == 44100
    assert len(got) == pytest.approx(len(speech) * 48000 / 44100, abs=2)
    assert to_db(rms(got)) == pytest.approx(to_db(rms(speech)), abs=0.1)  # the first channel, not a mean


def test_recordings_that_give_no_item_say_why(here: Path) -> None:
    speech = voice(2.0, seed=1)
    soundfile.write(here / "phone.wav", speech, 16000)
    soundfile.write(here / "short.wav", speech[:40000], 48000)
    soundfile.write(here / "silent.wav", np.zeros(96000), 48000)
    soundfile.write(here / "nan.wav", np.full(96000, np.nan), 48000, subtype="FLOAT")
    soundfile.write(here / "cut.flac", speech, 48000)
    (here / "cut.flac").write_bytes((here / "cut.flac").read_bytes()[:9000])
    reasons = {"phone.wav": "16000 Hz", "short.wav": "too short", "silent.wav": "silent", "nan.wav": "NaN",
               "cut.flac": "unreadable", "absent.wav": "no such file"}  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(TakeSkipped, match=reason) as caught:
            made(here, file=name)
        assert str(here) not in str(caught.value)


@pytest.mark.parametrize("rate", [44100, 48000])
def test_bandwidth_is_where_the_spectrum_ends(rate: int) -> None:
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(4 * rate))
    spectrum[12000 * 4 :] = 0
    samples = (0.1 * np.fft.irfft(spectrum)).astype(np.float32)
    assert bandwidth_hz(samples, rate) == pytest.approx(12000, abs=320)  # a window smears a steep edge


def test_a_suppressor_that_is_always_too_loud_gives_no_item(here: Path) -> None:
    """Whatever the take is turned down by, this one answers above full scale: no gain is common to all three."""

    class Even(Nothing):
        def __call__(self, noisy: FloatArray) -> FloatArray:
            return noisy * np.float32(2.0 / np.max(np.abs(noisy)))

    with pytest.raises(TakeSkipped, match="passes full scale"):
        render(here / "voice.wav", DRAW, here, here, Even(), SEGMENT)
