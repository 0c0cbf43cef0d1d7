"""The ceiling of a gate: what `benchmarks/oracle.py` writes is the best that its rule allows."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import ROOT
from tests.voices import noise, voice
from timbre_restore.audio import read_mono, write_audio
from timbre_restore.metrics import si_sdr
from timbre_restore.suppressors import load_suppressor


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    found = importlib.util.spec_from_file_location("oracle", ROOT / "benchmarks" / "oracle.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def frames(seed: int) -> NDArray[np.complex64]:
    parts = np.random.default_rng(seed).standard_normal((2, 4, 481))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


@pytest.mark.parametrize("open_share", [0.0, 0.3, 1.0])
def test_a_gate_that_was_there_is_found(oracle: ModuleType, open_share: float) -> None:
    degraded, taken = frames(1), frames(2)
    for gate in (oracle.nearest, oracle.nearest_bins, oracle.level):
        found = gate(degraded + open_share * taken, degraded, taken)
        np.testing.assert_allclose(found, np.full((4, 481), open_share), atol=0.0126)  # half a step


def test_what_no_gate_can_give_asks_for_the_nearest(oracle: ModuleType) -> None:
    degraded, taken = frames(1), frames(2)
    assert np.all(oracle.nearest_bins(degraded + 5.0 * taken, degraded, taken) == 1.0)
    assert np.all(oracle.nearest_bins(degraded - taken, degraded, taken) == 0.0)
    assert np.all(oracle.nearest(degraded + 5.0 * taken, degraded, taken) == 1.0)


def test_files_are_aligned_with_the_clean_ones_and_better_than_either_input(oracle: ModuleType, tmp_path: Path) -> None:
    clean = voice(3.0, seed=3)
    noisy = clean + 0.3 * noise(3.0, seed=4)
    for side, samples in (("noisy", noisy), ("clean", clean)):
        write_audio(tmp_path / "pairs" / side / "a.wav", samples, 48_000)
    oracle.main(tmp_path / "pairs", tmp_path / "out")
    inputs = max(si_sdr(x, clean) for x in (noisy, load_suppressor()(noisy)))
    outputs = [read_mono(tmp_path / "out" / name / "a.wav") for name in oracle.GATES]
    assert all(len(x) == len(clean) for x in outputs)
    nearest, by_bin, level, *levels = (si_sdr(x, clean) for x in outputs)
    assert by_bin >= nearest > inputs + 3.0
    assert level > inputs
    assert nearest > levels[0] > levels[1] > levels[2] > inputs, "the longer levels are averaged, the less is known"


def test_levels_alone_open_where_there_is_voice_and_shut_where_there_is_noise(oracle: ModuleType) -> None:
    voice_frames, noise_frames, nothing = frames(1), frames(2), np.zeros((4, 481), np.complex64)
    np.testing.assert_allclose(oracle.levels(voice_frames, nothing, voice_frames, frames=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(oracle.levels(nothing, nothing, noise_frames, frames=1), 0.0, atol=1e-6)
    equal = oracle.levels(voice_frames, nothing, 2.0 * voice_frames, frames=3)  # as much noise as voice
    np.testing.assert_allclose(equal, 0.5, atol=1e-6)
    one_frame_of_voice = voice_frames * (np.arange(4) == 2)[:, None]
    spread = oracle.levels(one_frame_of_voice, nothing, one_frame_of_voice + noise_frames, frames=3)
    assert np.all(spread[0] == 0.0) and np.all(spread[1:].max(axis=1) > 0.0), "a mean reaches one frame to either side"
