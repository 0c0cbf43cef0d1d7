"""One take: levels, rooms, gains and cuts, seen through a suppressor that does nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.voices import FloatArray, noise, voice
from timbre_restore.audio import active_rms, bandwidth_hz, from_db, from_pcm, rms, stft, to_db, to_pcm
from timbre_restore.corpus.planning.draw import Draw, NoiseDraw, Variation
from timbre_restore.corpus.planning.plan import Take
from timbre_restore.corpus.planning.scan import Recording
from timbre_restore.corpus.rendering.filters import filtered, low_passed
from timbre_restore.corpus.rendering.made_noise import MADE_KINDS, is_made, made_name, make_noise
from timbre_restore.corpus.rendering.mix import (
    Folders,
    load_speech,
    mix,
    quiet_moment,
    with_pause,
)
from timbre_restore.corpus.rendering.noises import load_stretch, mixed_noises, vary
from timbre_restore.corpus.rendering.rejects import TakeSkipped
from timbre_restore.corpus.rendering.render import LEAD_SAMPLES, Rendered, activity, render
from timbre_restore.corpus.rendering.rooms import EARLY_SAMPLES, convolve, direct_path_first, first_room, in_room
from timbre_restore.suppressors import Suppressor
from timbre_restore.suppressors.base import one_by_one

HUM = NoiseDraw(("hum.wav",), 0.3)
DRAW = Draw(speech_level_dbfs=-25.0, snr_db=10.0, noises=(HUM,))
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


def take_of(here: Path, draw: Draw = DRAW, file: str = "voice.wav") -> Take:
    rate, samples = 48000, 0
    with suppress(soundfile.LibsndfileError):
        info = soundfile.info(here / file)
        rate, samples = info.samplerate, info.frames
    return Take(Recording(0, file, "ann", rate, samples), "train", 0, 0, 0, samples, draw)


def rendered(
    here: Path, takes: list[Take], suppressor: Suppressor | None = None
) -> list[tuple[Take, Rendered | TakeSkipped]]:
    folders = Folders((here,), here, here)
    return list(render(takes, lambda take: mix(take, folders, SEGMENT, LEAD_SAMPLES), suppressor or Nothing(), SEGMENT))


def made(here: Path, draw: Draw = DRAW, *, file: str = "voice.wav", suppressor: Suppressor | None = None) -> Rendered:
    ((_, items),) = rendered(here, [take_of(here, draw, file)], suppressor)
    if isinstance(items, TakeSkipped):
        raise items
    return items


def whole(items: np.ndarray) -> FloatArray:
    return from_pcm(items[:, :SEGMENT].reshape(-1))


def test_items_are_consecutive_seconds_and_the_tail_is_dropped(here: Path) -> None:
    items = made(here)
    assert items.degraded.shape == items.clean.shape == (2, SEGMENT)
    assert items.noisy.shape == (2, SEGMENT + 1440)
    assert np.array_equal(items.noisy[0, SEGMENT:], items.noisy[1, :1440])
    assert np.any(items.noisy[1, SEGMENT:])  # the recording goes on for half a second


def test_noise_and_room_go_on_where_the_recording_ends(here: Path) -> None:
    """As in a call: what follows is no silence, which the suppressor would not even look at."""
    soundfile.write(here / "exact.wav", voice(2.0, seed=1), 48000)
    items = made(here, file="exact.wav")
    noise_before = from_pcm(items.noisy[:, :SEGMENT] - items.clean)
    assert to_db(rms(from_pcm(items.noisy[1, SEGMENT:]))) == pytest.approx(to_db(rms(noise_before)), abs=3.0)
    in_hall = made(here, replace(DRAW, noises=(), rooms=("room.wav",)), file="exact.wav")
    assert np.any(in_hall.noisy[1, SEGMENT:])


def test_degraded_is_the_suppressed_stored_noisy(here: Path) -> None:
    items = made(here)
    assert np.array_equal(items.degraded, items.noisy[:, :SEGMENT])


def test_speech_has_its_level_and_noise_its_distance(here: Path) -> None:
    soundfile.write(here / "exact.wav", voice(2.0, seed=1), 48000)
    items = made(here, file="exact.wav")
    clean, noisy = whole(items.clean), whole(items.noisy)
    assert to_db(active_rms(clean)) == pytest.approx(-25.0, abs=0.05)
    assert to_db(rms(clean) / rms(noisy - clean)) == pytest.approx(10.0, abs=0.05)
    assert items.gain_db == 0.0


def test_speech_in_a_room_has_its_level_there(here: Path) -> None:
    items = made(here, replace(DRAW, rooms=("room.wav",), snr_db=90.0))
    speech, _ = load_speech(here, take_of(here), SEGMENT)
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
    assert np.allclose(convolve(signal, taps_)[picked], expected, atol=1e-5 * taps**0.5 + 1e-6)


@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_nothing_clips_and_one_gain_goes_to_all(here: Path, gain: float) -> None:
    """Loud speech in loud noise, or a suppressor that makes louder: all signals are turned down alike."""
    loud = replace(DRAW, speech_level_dbfs=-3.0, snr_db=-5.0)
    items = made(here, loud, suppressor=Nothing(gain))
    quiet = made(here, replace(loud, speech_level_dbfs=-40.0), suppressor=Nothing(gain))
    down = items.gain_db
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
    offset, stretch = load_stretch(here / "hum.wav", 0.5, 100_000)
    assert offset == 31200
    hum = soundfile.read(here / "hum.wav", dtype="float32")[0]
    assert np.array_equal(stretch[:31200], hum[31200:])
    assert np.array_equal(stretch[31200 : 31200 + len(hum)], hum)


def test_long_noise_is_read_where_the_draw_says(here: Path) -> None:
    long = noise(3.0, seed=6)
    for rate in (48000, 44100):
        soundfile.write(here / f"long{rate}.wav", long, rate, subtype="FLOAT")
    offset, stretch = load_stretch(here / "long48000.wav", 0.25, 48000)
    assert offset == int(0.25 * (len(long) - 48000))
    assert np.array_equal(stretch, long[offset : offset + 48000])
    assert len(load_stretch(here / "long44100.wav", 0.999, 48000)[1]) == 48000


def test_unusable_noise_and_room_give_way_to_the_next(here: Path) -> None:
    (here / "torn.wav").write_bytes(b"RIFF nothing")
    soundfile.write(here / "still.wav", np.zeros(96000), 48000)
    noises = (NoiseDraw(("torn.wav", "still.wav", "hum.wav")),)
    items = made(here, replace(DRAW, noises=noises, rooms=("torn.wav", "room.wav")))
    assert (items.applied.noises, items.applied.room) == (("hum.wav",), "room.wav")
    assert [entry[:2] for entry in items.rejects] == [
        ("room", "torn.wav"),
        ("noise", "torn.wav"),
        ("noise", "still.wav"),
    ]
    assert "silent in the drawn stretch: -200 dBFS" in items.rejects[-1][2]
    assert not any(str(here) in reason for _, _, reason in items.rejects)
    still = NoiseDraw(("still.wav",))
    assert made(here, replace(DRAW, noises=(HUM, still))).applied.noises == ("hum.wav",)
    with pytest.raises(TakeSkipped, match="noises") as caught:
        made(here, replace(DRAW, noises=(still, HUM)))
    assert [entry[1] for entry in caught.value.rejects] == ["still.wav"]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_rates_depths_and_channels_are_accepted(here: Path, subtype: str) -> None:
    speech = voice(2.0, seed=1)
    path = here / f"stereo_{subtype}.wav"
    soundfile.write(path, np.stack([speech, noise(2.0)], axis=1), 44100, subtype=subtype)
    got, _ = load_speech(here, take_of(here, file=path.name), SEGMENT)
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
        made(here, suppressor=Even())


def test_every_take_comes_out_whatever_its_neighbours_do(here: Path) -> None:
    loud = replace(DRAW, speech_level_dbfs=-3.0, snr_db=-5.0)
    takes = [take_of(here), take_of(here, file="absent.wav"), take_of(here, loud), take_of(here, file="absent2.wav")]
    out = rendered(here, takes)
    assert sorted((t.recording.relative, t.draw.snr_db) for t, _ in out) == sorted(
        (t.recording.relative, t.draw.snr_db) for t in takes
    )
    for take, result in out:
        if take.recording.relative.startswith("absent"):
            assert isinstance(result, TakeSkipped)
        else:
            assert isinstance(result, Rendered)
            assert np.array_equal(result.noisy, made(here, take.draw).noisy)


def test_a_recording_that_changed_since_the_plan_is_not_used(here: Path) -> None:
    take = take_of(here)
    other = replace(take, recording=replace(take.recording, samples=take.recording.samples + 1))
    ((_, result),) = rendered(here, [other])
    assert "changed since" in str(result)


def test_a_part_of_a_long_recording_is_its_stretch(here: Path) -> None:
    take = replace(take_of(here), start=24_000, length=60_000)
    speech, _ = load_speech(here, take, SEGMENT)
    assert np.array_equal(speech, soundfile.read(here / "voice.wav", dtype="float32")[0][24_000:84_000])


def test_two_noises_stand_at_their_levels_to_each_other(here: Path) -> None:
    """Made of two tones, so that each can be weighed in the sum."""
    for name, hertz, level in (("low.wav", 500, 0.3), ("high.wav", 5000, 0.01)):
        tone = level * np.sin(2 * np.pi * hertz * np.arange(96000) / 48000)
        soundfile.write(here / name, tone, 48000, subtype="FLOAT")
    names, _, total = mixed_noises(
        [NoiseDraw(("low.wav",)), NoiseDraw(("high.wav",), level_db=-6.0)], here, 48000, 48000, []
    )
    power = np.mean(np.abs(stft(total, 4800, 4800)) ** 2, axis=1)
    low, high = power[40:60].sum(), power[490:510].sum()
    assert names == ("low.wav", "high.wav")
    assert 10 * np.log10(high / low) == pytest.approx(-6.0, abs=0.1)


def test_a_noise_that_begins_behind_the_voice_is_none(here: Path) -> None:
    """What the suppressor looks ahead at is no part of the level that the noise gets."""
    late = np.zeros(SEGMENT * 2 + LEAD_SAMPLES, np.float32)
    late[-LEAD_SAMPLES:] = 0.5
    soundfile.write(here / "late.wav", late, 48000, subtype="FLOAT")
    ahead = replace(DRAW, noises=(NoiseDraw(("late.wav", *HUM.names)),))
    voice_file = replace(take_of(here), length=SEGMENT * 2)
    ((_, items),) = rendered(here, [replace(voice_file, draw=ahead)])
    assert isinstance(items, Rendered) and items.applied.noises == HUM.names[:1]
    assert [reject[:2] for reject in items.rejects] == [("noise", "late.wav")]


@pytest.mark.parametrize("rate", [8_000, 16_000])
@pytest.mark.parametrize("between", [0.0, 0.4])
def test_a_room_that_is_sampled_low_takes_no_octaves_off_the_target(here: Path, rate: int, between: float) -> None:
    """Its direct path is the voice's own, and its echo is as far below that as it was, in the octaves that it has.

    The peak may lie between two samples of the room.
    """
    times = np.arange(rate // 5) - 40 - between
    soundfile.write(here / "low.wav", 0.8 * np.sinc(times) + 0.4 * np.sinc(times - rate // 50), rate, subtype="FLOAT")
    _, response = first_room(("low.wav",), here, [])
    assert response is not None

    def level_db(part: FloatArray, low: int, high: int) -> float:
        return float(10 * np.log10(np.mean(np.abs(np.fft.rfft(part, 48_000)[low:high]) ** 2)))

    direct, echo = response[:480], response[480:EARLY_SAMPLES]
    for low, high in ((200, 3_000), (9_000, 12_000), (12_000, 20_000)):
        assert level_db(direct, low, high) == pytest.approx(0.0, abs=1.0)
    assert level_db(echo, 200, 3_000) == pytest.approx(-6.0, abs=1.0)
    assert level_db(echo, 9_000, 20_000) < -30.0


def test_a_second_before_the_voice_begins_holds_none(here: Path) -> None:
    """Though the voice lies in what is too short for another item."""
    soundfile.write(here / "late.wav", np.concatenate([noise(1.02, level=1e-5), voice(0.8)]), 48000, subtype="FLOAT")
    assert made(here, file="late.wav").activity.tolist() == [0.0]


def test_clean_input_is_the_speech_alone(here: Path) -> None:
    items = made(here, replace(DRAW, noises=()))
    assert np.array_equal(items.noisy[:, :SEGMENT], items.clean)
    assert items.applied.noises == ()


def test_a_pause_is_put_where_the_voice_is_quietest() -> None:
    speech = np.ones(96_000, np.float32)
    speech[50_400:51_360] = 0.0  # the only quiet 20 ms, a second off the drawn place at most
    at = quiet_moment(speech, 0.6)
    assert at == 50_880
    paused = with_pause(speech, at, 4800)
    assert len(paused) == 96_000 + 4800
    assert not paused[50_880 : 50_880 + 4800].any()
    assert np.array_equal(paused[: at - 480], speech[: at - 480])
    assert np.array_equal(paused[at + 4800 + 480 :], speech[at + 480 :])
    with_step = with_pause(np.ones(9600, np.float32), 4800, 480)
    assert np.max(np.abs(np.diff(with_step))) < 0.01


def test_a_pause_lengthens_the_take_and_noise_goes_on_in_it(here: Path) -> None:
    plain, paused = made(here), made(here, replace(DRAW, pause_s=3.0, pause_position=0.5))
    assert (len(plain.clean), len(paused.clean)) == (2, 5)
    start = paused.applied.pause_start
    inside = slice(start + 480, start + 3 * 48_000 - 480)
    assert not np.any(whole(paused.clean)[inside])
    assert rms(whole(paused.noisy)[inside]) > 1e-3
    assert np.min(paused.activity) == 0.0 and np.min(plain.activity) > 0.3


def test_activity_is_the_share_of_time_with_voice() -> None:
    clean = np.zeros(96_000, np.float32)
    clean[:12_000] = 0.1
    clean[48_000:72_000] = 0.0005  # 46 dB below: not counted
    assert activity(clean, 48_000).tolist() == [0.25, 0.0]
    assert len(activity(clean[:95_999], 48_000)) == 1
    late = np.concatenate([clean[48_000:96_000], clean[:24_000]])  # the voice lies behind the only whole segment
    assert activity(late, 48_000).tolist() == [0.0]
    assert activity(np.zeros(96_000, np.float32), 48_000).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("limit", [3400, 11_000])
def test_a_band_limit_holds_for_input_and_target_and_moves_nothing(here: Path, limit: int) -> None:
    items = made(here, replace(DRAW, band_limit_hz=limit))
    for samples in (whole(items.noisy), whole(items.clean)):
        power = np.mean(np.abs(stft(samples, 4800, 4800)) ** 2, axis=1)
        assert 10 * np.log10(power[int(limit * 1.05 / 10) :].max() / power.max()) < -60  # 16 bit have a floor
    tone = np.sin(2 * np.pi * 0.5 * limit * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.max(np.abs(low_passed(tone, limit) - tone)[2400:-2400]) < 1e-3


def test_made_noises_follow_from_their_names_and_differ() -> None:
    for kind in MADE_KINDS:
        one, again, other = (make_noise(made_name(kind, seed), 48_123) for seed in (1, 1, 2))
        assert is_made(made_name(kind, 1)) and not is_made(f"made:{kind}x.wav")
        assert np.array_equal(one, again)
        assert rms(one) == pytest.approx(0.1, rel=1e-3) and np.isfinite(one).all() and one.shape == (48_123,)
        assert abs(float(np.dot(one, other))) < 0.2 * 48_123 * 0.01
    tonal = [np.abs(np.fft.rfft(make_noise(made_name("tonal", seed), 48_000))) for seed in range(20)]
    white = np.abs(np.fft.rfft(np.random.default_rng(0).standard_normal(48_000)))
    peaky = [np.max(spectrum) / np.sqrt(np.mean(spectrum**2)) for spectrum in (*tonal, white)]
    assert np.median(peaky[:-1]) > 5 * peaky[-1]


def test_made_music_is_of_notes_that_begin_and_end() -> None:
    """Most of its power is in few lines, as a voice's is; and it moves, as a machine's tone doesn't."""
    spread, moves = [], []
    for seed in range(20):
        music = make_noise(made_name("musical", seed), 96_000)
        power = np.abs(stft(music, 4096, 1024)) ** 2
        lines = np.sort(power.mean(axis=1))[::-1]
        spread.append(lines[:205].sum() / lines.sum())  # a tenth of the bins
        level = power.sum(axis=0)
        moves.append(np.std(level) / np.mean(level))
    assert np.median(spread) > 0.99
    assert np.median(moves) > 0.3


def test_another_voice_is_heard_in_input_and_target_alike(here: Path) -> None:
    """Higher and shorter by its speed; a pause and the noise stay as long as they were drawn."""
    t = np.arange(3 * 48_000) / 48_000
    soundfile.write(here / "tone.wav", 0.1 * np.sin(2 * np.pi * 1000 * t), 48_000)
    for speed in (0.8, 1.25):
        draw = replace(DRAW, noises=(), voice=Variation(speed=speed))
        items = made(here, draw, file="tone.wav")
        assert len(items.clean) == int(3 / speed)
        for side in (items.clean, items.noisy):
            assert np.argmax(np.abs(np.fft.rfft(from_pcm(side[0, :SEGMENT])))) == 1000 * speed
        assert items.applied.bandwidth_hz == made(here, replace(DRAW, noises=()), file="tone.wav").applied.bandwidth_hz
    plain, tilted = (
        load_speech(here, take_of(here, replace(DRAW, voice=voice)), SEGMENT)[0]
        for voice in (Variation(), Variation(tilt_db_per_octave=-1.5))
    )
    assert np.array_equal(tilted, filtered(plain, Variation(tilt_db_per_octave=-1.5)))
    soundfile.write(here / "brief.wav", voice(1.2, seed=1), 48_000)
    with pytest.raises(TakeSkipped, match=r"too short: 0\.96 s"):
        made(here, replace(DRAW, voice=Variation(speed=1.25)), file="brief.wav")


def test_a_variation_does_what_it_says() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(72_001) / 48_000).astype(np.float32)

    def peak_hz(samples: FloatArray) -> float:
        return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))))) * 48_000 / len(samples)

    fast = vary(tone, Variation(speed=1.4), 48_000)
    assert len(fast) == 48_000 and peak_hz(fast) == pytest.approx(1400, abs=2)
    ramp = np.linspace(0, 1, 48_000, dtype=np.float32)
    assert np.array_equal(vary(ramp, Variation(backwards=True), 48_000), ramp[::-1])
    white = noise(1.0, seed=3)
    before, after = (np.abs(np.fft.rfft(x)) for x in (white, vary(white, Variation(tilt_db_per_octave=-3.0), 48_000)))
    gain = 20 * np.log10(after / before)
    assert gain[1000] == pytest.approx(0.0, abs=0.1)
    assert gain[4000] == pytest.approx(-6.0, abs=0.1)
    peaked = np.abs(np.fft.rfft(vary(white, Variation(peak_hz=2000.0, peak_db=10.0), 48_000)))
    boost = 20 * np.log10(peaked / before)
    assert boost[2000] == pytest.approx(10.0, abs=0.1)
    assert boost[int(2000 * 2**0.5)] == pytest.approx(5.0, abs=0.1)  # an octave wide at half its height
    assert abs(boost[500]) < 0.1
    assert np.array_equal(vary(white, Variation(), 48_000), white)
