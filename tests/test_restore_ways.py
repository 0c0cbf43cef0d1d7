"""A channel's way in pieces is the whole signal's, aligned and as long, at any rate and behind any suppressor."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.voices import noise, voice
from timbre_restore.audio import Resampler, lag_samples, resample, rms, to_db
from timbre_restore.errors import ModelError
from timbre_restore.runtime import Chain, Restorer, Treatment
from timbre_restore.runtime.files.treatment import Suppress, Way
from timbre_restore.suppressors import SuppressorSettings, load_suppressor

FloatArray = NDArray[np.float32]
RATE = 48_000


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer.load()


@pytest.fixture(scope="module")
def chain(restorer: Restorer) -> Chain:
    return Chain(load_suppressor(), restorer)


def noisy(seconds: float) -> FloatArray:
    return voice(seconds) + noise(seconds, level=0.03)


def halve(samples: FloatArray) -> FloatArray:
    return np.float32(0.5) * samples


def through(way: Way, samples: FloatArray, lengths: tuple[int, ...]) -> FloatArray:
    """In pieces of these lengths in turn."""
    parts, at, turn = [], 0, 0
    while at < len(samples):
        length = lengths[turn % len(lengths)]
        parts.append(way.push(samples[at : at + length]))
        at, turn = at + length, turn + 1
    return np.concatenate([*parts, way.flush()])


@pytest.mark.parametrize("lengths", [(240_000,), (1, 479, 4801)])
def test_a_stream_behind_the_suppressor_is_the_whole(chain: Chain, lengths: tuple[int, ...]) -> None:
    samples = noisy(6.3)[:-111]
    way = Treatment(chain.restorer, chain, 1.0).way(RATE)
    out = through(way, samples, lengths)
    assert out.shape == samples.shape
    assert np.abs(out - chain(samples, strength=1.0)).max() < 1e-5


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
def test_other_rates_are_what_the_whole_resampled_is(chain: Chain, rate: int) -> None:
    samples = resample(noisy(3.1), RATE, rate)[: 3 * rate + 7]
    out = through(Treatment(chain.restorer, chain, 1.0).way(rate), samples, (rate // 3, 1000))
    whole = resample(chain(resample(samples, rate, RATE), strength=1.0), RATE, rate)[: len(samples)]
    assert out.shape == samples.shape
    assert np.abs(out[: len(whole)] - whole).max() < 1e-5


@pytest.mark.parametrize("rate", [11_025, 44_100, 48_000, 192_000])
def test_nothing_moves_in_time_and_the_level_stays(restorer: Restorer, rate: int) -> None:
    """Suppressed before, strength 0: what comes out is what went in, below half the rate."""
    samples = resample(voice(2.0), RATE, min(rate, 24_000))
    samples = resample(samples, min(rate, 24_000), rate)
    out = through(Treatment(restorer, None, 0.0).way(rate), samples, (rate,))
    assert out.shape == samples.shape
    assert lag_samples(out, samples, max_lag=500) == 0
    inner = slice(rate // 10, -rate // 10)
    assert rms(out[inner] - samples[inner]) < (0.05 if rate < RATE else 1e-3) * rms(samples)
    assert rms(out) == pytest.approx(rms(samples), rel=0.01)


@pytest.mark.parametrize("samples", [1, 479, 481, 1441])
@pytest.mark.parametrize("rate", [16_000, 48_000, 192_000])  # the last rounds a length down on its way
def test_short_sounds_keep_their_length(chain: Chain, restorer: Restorer, samples: int, rate: int) -> None:
    sound = np.resize(noise(1.0), samples).astype(np.float32)
    for suppress in (chain, halve, None):
        assert len(through(Treatment(restorer, suppress).way(rate), sound, (480,))) == samples


def test_input_that_was_suppressed_before(restorer: Restorer) -> None:
    samples = voice(2.0)
    out = through(Treatment(restorer, None, 1.0).way(RATE), samples, (480, 7000))
    assert np.abs(out - restorer(samples, samples, strength=1.0)).max() < 1e-5


@pytest.mark.parametrize("runtime", ["official", "a function"])
def test_a_suppressor_of_whole_signals_is_given_them(restorer: Restorer, runtime: str) -> None:
    samples = noisy(1.5)
    suppress: Suppress | Chain = halve
    if runtime == "official":
        suppress = Chain(load_suppressor(SuppressorSettings(runtime="official")), restorer)
        assert not suppress.streams
        expected = suppress(samples, strength=1.0)
    else:
        expected = restorer(halve(samples), samples, strength=1.0)
    assert np.array_equal(through(Treatment(restorer, suppress, 1.0).way(RATE), samples, (5000,)), expected)


@pytest.mark.parametrize("runtime", ["graphs", "official"])
@pytest.mark.parametrize("pause", [240, 1195, 1440, 96_000])
def test_a_pause_moves_no_sound(restorer: Restorer, pause: int, runtime: str) -> None:
    """DeepFilterNet3 alone keeps the last 30 ms before a silence to its end. Here it may take no more than 6 dB."""
    settings = SuppressorSettings(runtime=runtime, attenuation_limit_db=6.0)
    chain = Chain(load_suppressor(settings), restorer)
    before, behind = voice(1.5, seed=4)[:-11_111], voice(1.0, seed=5)
    samples = np.concatenate([before, np.zeros(pause, np.float32), behind])
    out = through(Treatment(restorer, chain, 0.0).way(RATE), samples, (1, 700, 4801))
    assert len(out) == len(samples)
    silent = slice(-(-len(before) // 480) * 480, (len(before) + pause) // 480 * 480)
    assert not out[silent].any()
    at = len(before) + pause
    for edge in (slice(len(before) - 1440, len(before)), slice(at, at + 1440)):
        assert to_db(rms(out[edge])) == pytest.approx(to_db(rms(samples[edge])), abs=6.5)
        assert lag_samples(out[edge], samples[edge]) == 0
    if pause >= 1440:
        alone, edge = chain(samples, strength=0.0), slice(len(before) - 1440, len(before))
        assert to_db(rms(alone[edge])) < to_db(rms(samples[edge])) - 20.0, "the plain chain keeps it back"


@pytest.mark.parametrize("length", [0, 1, 479, 480, 50_001])
def test_nothing_comes_of_silence(chain: Chain, length: int) -> None:
    out = through(Treatment(chain.restorer, chain, 1.0).way(RATE), np.zeros(length, np.float32), (480, 1000))
    assert len(out) == length and not out.any()


def test_the_models_own_strength_is_the_default(restorer: Restorer) -> None:
    samples = voice(1.0)
    own = through(Treatment(restorer, halve).way(RATE), samples, (48_000,))
    assert np.array_equal(own, restorer(halve(samples), samples))
    assert not np.array_equal(own, restorer(halve(samples), samples, strength=1.0))
    with pytest.raises(ModelError, match="strength is 2"):
        Treatment(restorer, halve, 2.0).way(RATE)


@pytest.mark.parametrize(("there", "back"), [(44_100, 48_000), (48_000, 8_000), (48_000, 48_000)])
def test_resampling_in_pieces_is_resampling_the_whole(there: int, back: int) -> None:
    samples = voice(1.0)
    stream = Resampler(there, back)
    parts = [stream.push(samples[start : start + 997]) for start in range(0, len(samples), 997)]
    assert np.array_equal(np.concatenate([*parts, stream.flush()]), resample(samples, there, back))
