"""The family of suppressors: whoever it is, aligned, equally long, stateless, honest about its delay."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.voices import FloatArray, noise, voice
from timbre_restore.audio import lag_samples, read_mono, rms, stft, to_db
from timbre_restore.errors import SuppressorError
from timbre_restore.suppressors import (
    SUPPRESSORS,
    Suppressor,
    SuppressorSettings,
    describe_suppressor,
    dtln,
    load_suppressor,
)

PACKAGES = {"rnnoise": "pyrnnoise", "dtln": "livekit"}
LATENCY = {"dfn3": 1440, "rnnoise": 960, "dtln": 1152, "spectral_gate": 480}


@pytest.fixture(params=SUPPRESSORS)
def member(request: pytest.FixtureRequest) -> Suppressor:
    name = request.param
    if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{name} needs a package that is not installed (see docs/suppressors.md)")
    return load_suppressor(SuppressorSettings(name=name))


@pytest.fixture(scope="module")
def noisy() -> FloatArray:
    return voice(2.0, seed=3) + noise(2.0, seed=3, level=0.03)


def test_it_says_who_it_is(member: Suppressor) -> None:
    assert member.latency_samples == LATENCY[member.name]
    assert member.sample_rate_hz == 48000
    assert member.licence and "," not in member.licence
    assert member.build == describe_suppressor(SuppressorSettings(name=member.name))


@pytest.mark.parametrize("length", [0, 1, 479, 480, 9601])
def test_output_is_as_long_as_the_input(member: Suppressor, noisy: FloatArray, length: int) -> None:
    out = member(noisy[:length])
    assert out.shape == (length,) and out.dtype == np.float32


def cut_in_a_syllable(speech: FloatArray) -> FloatArray:
    loud = int(np.argmax(np.convolve(speech[48000:] ** 2, np.ones(1440), "valid"))) + 48000
    return speech[: loud + 1440]


def keeps_voice_and_its_end(member: Suppressor, speech: FloatArray) -> None:
    out, cut = member(speech), cut_in_a_syllable(speech)
    assert lag_samples(out, speech) == 0
    assert to_db(rms(out) / rms(speech)) > -6.0
    assert rms(member(cut)[-480:]) > 0.3 * rms(cut[-480:])


def test_voice_stays_where_it_was_to_its_end(member: Suppressor) -> None:
    if member.name == "rnnoise":
        pytest.skip("RNNoise does not take the made voice for one; see the test with recordings")
    keeps_voice_and_its_end(member, voice(2.0, seed=1))


def test_noise_goes(member: Suppressor) -> None:
    hiss = (0.05 * np.random.default_rng(0).standard_normal(3 * 48000)).astype(np.float32)
    assert to_db(rms(member(hiss)[-48000:]) / rms(hiss)) < -15.0


def test_calls_share_no_state_and_company_changes_nothing(member: Suppressor, noisy: FloatArray) -> None:
    first = member(noisy)
    other = noise(0.5, seed=9, level=0.3)
    member(other)
    assert np.array_equal(member(noisy), first)
    together = {number: audio for number, audio, _ in member.many([other, noisy, other])}
    alone = next(iter(member.many([noisy])))[1]
    assert np.array_equal(together[1], alone)
    assert np.max(np.abs(alone - first)) < 1e-5


def test_sees_no_further_ahead_than_it_says(member: Suppressor, noisy: FloatArray) -> None:
    at = 48000
    changed = noisy.copy()
    changed[at:] = noise(2.0, seed=5, level=0.5)[at:]
    before, after = member(noisy), member(changed)
    # DTLN's resamplers reach some milliseconds further, and there only faintly.
    reach, tolerance = (1440, 1e-3) if member.name == "dtln" else (0, 0.0)
    end = at - member.latency_samples - reach
    assert np.max(np.abs(before[:end] - after[:end])) <= tolerance
    assert not np.array_equal(before[:at], after[:at])


def test_dtln_gives_nothing_above_eight_kilohertz(noisy: FloatArray) -> None:
    if importlib.util.find_spec("livekit") is None:
        pytest.skip("DTLN is not installed (see docs/suppressors.md)")
    power = np.mean(np.abs(stft(load_suppressor(SuppressorSettings(name="dtln"))(noisy), 4800, 4800)) ** 2, axis=1)
    assert 10 * np.log10(power[850:].max() / power.max()) < -60


@pytest.mark.parametrize("name", ["rnnoise", "dtln"])
def test_absence_names_the_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(SuppressorError, match="pip install --no-deps"):
        describe_suppressor(SuppressorSettings(name=name))


@pytest.mark.parametrize("name", ["rnnoise", "dtln", "spectral_gate"])
@pytest.mark.parametrize("knob", [{"attenuation_limit_db": 24.0}, {"post_filter_beta": 0.02}, {"runtime": "official"}])
def test_knobs_of_dfn3_are_refused_by_the_others(name: str, knob: dict[str, object]) -> None:
    with pytest.raises(SuppressorError, match="leave them at their defaults"):
        load_suppressor(SuppressorSettings(name=name, **knob))  # type: ignore[arg-type]


def test_other_weights_of_dtln_are_refused(tmp_path: Path) -> None:
    for name in ("model_1.onnx", "model_2.onnx"):
        (tmp_path / name).write_bytes(b"other weights")
    with pytest.raises(SuppressorError, match="has checksum"):
        dtln._open(tmp_path)


def test_loading_any_brings_no_torch_and_no_foreign_package() -> None:
    code = (
        "import sys, timbre_restore.suppressors as s\n"
        "for name in s.SUPPRESSORS:\n"
        "    try: s.load_suppressor(s.SuppressorSettings(name=name))\n"
        "    except Exception as exc: assert 'not installed' in str(exc), exc\n"
        "assert not {'torch', 'pyrnnoise', 'livekit.plugins'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_real_voices_stay_where_they_were_to_their_end(shared_data: Path, member: Suppressor) -> None:
    for path in sorted((shared_data / "speech").glob("*/*.flac"))[::400]:
        keeps_voice_and_its_end(member, read_mono(path)[: 5 * 48000])
