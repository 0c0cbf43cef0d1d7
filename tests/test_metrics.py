"""Metrics: equal to slow written-out versions, perfect on equal pairs, moved by the defect they are named after."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.voices import RATE, noise, voice
from timbre_restore.audio import FloatArray, active_rms, from_db, read_mono, resample, rms, to_db
from timbre_restore.audio.cells import band_layout
from timbre_restore.metrics import (
    DEFAULT_SET,
    SETS,
    Metric,
    NotComputableError,
    Score,
    cell_rates,
    estoi,
    is_silent,
    item_gain,
    log_spectral_distance,
    perceptual,
    pesq_wb,
    score_pair,
    si_sdr,
)
from timbre_restore.metrics.cells import band_cells
from timbre_restore.suppressors import SuppressorSettings, load_suppressor

RATES = [metric for metric in DEFAULT_SET if metric.unit == "%"]
QUICK = [metric for metric in SETS["core"] if metric.key not in ("pesq", "estoi")]
needs_pesq = pytest.mark.skipif(importlib.util.find_spec("pesq") is None, reason=perceptual.PESQ_COMMAND)
needs_pystoi = pytest.mark.skipif(importlib.util.find_spec("pystoi") is None, reason=perceptual.ESTOI_COMMAND)


def random_pair(seed: int, samples: int = 9_000) -> tuple[FloatArray, FloatArray]:
    """Noise whose loudness jumps, and another version of it that is gated and drowned in turns."""
    rng = np.random.default_rng(seed)
    envelope = np.repeat(10.0 ** rng.uniform(-2, 0, samples // 500), 500)
    reference = rng.standard_normal(samples) * envelope * 0.1
    change = np.repeat(10.0 ** rng.uniform(-1.2, 0.2, samples // 1500), 1500)
    added = np.repeat(rng.choice([0.0, 0.3], samples // 1500), 1500)
    estimate = reference * change + 0.1 * added * rng.standard_normal(samples)
    return estimate.astype(np.float32), reference.astype(np.float32)


def frame_powers(samples: FloatArray, window: int, hop: int) -> list[list[float]]:
    """Power per frame and bin, one frame at a time, the window from its formula."""
    weights = [math.sin(math.pi * n / window) ** 2 for n in range(window)]
    starts = range(0, len(samples) - window + 1, hop)
    return [
        [abs(c) ** 2 for c in np.fft.rfft([w * float(s) for w, s in zip(weights, samples[at:], strict=False)])]
        for at in starts
    ]


def slow_rates(estimate: FloatArray, reference: FloatArray, above_hz: float) -> tuple[float, float]:
    """Over-suppression and residual by the definition, cell by cell."""

    def erb(f: float) -> float:
        return 21.4 * math.log10(1 + 0.00437 * f)

    def cells(samples: FloatArray) -> dict[int, list[float]]:
        low, high = erb(31.25), erb(20_000)
        bands: dict[int, list[float]] = {}
        frames = frame_powers(samples, 1536, 480)
        for k in range(1, 641):
            band = min(47, int((erb(31.25 * k) - low) / ((high - low) / 48)))
            for n, frame in enumerate(frames):
                bands.setdefault(band, [0.0] * len(frames))[n] += frame[k]
        step = (high - low) / 48
        centre = {b: (10 ** ((low + (b + 0.5) * step) / 21.4) - 1) / 0.00437 for b in bands}
        return {b: row for b, row in bands.items() if centre[b] >= above_hz}

    over = residual = active = 0
    given = cells(estimate)
    for band, row in cells(reference).items():
        for n, power in enumerate(row):
            if 10 * math.log10(power / max(row)) < -25:
                continue
            active += 1
            difference_db = 10 * math.log10(given[band][n] / power)
            over += difference_db < -10
            residual += difference_db > 10
    return over / active, residual / active


def slow_lsd(estimate: FloatArray, reference: FloatArray) -> float:
    wanted, given = (frame_powers(x, 2048, 512) for x in (reference, estimate))
    floor_db = 10 * math.log10(max(max(frame) for frame in wanted)) - 80
    loudest = max(sum(frame) for frame in wanted)
    distances = []
    for r, e in zip(wanted, given, strict=True):
        if 10 * math.log10(sum(r) / loudest) < -40:
            continue
        squares = [
            (max(10 * math.log10(a), floor_db) - max(10 * math.log10(b), floor_db)) ** 2
            for a, b in zip(e, r, strict=True)
        ]
        distances.append(math.sqrt(sum(squares) / len(squares)))
    return sum(distances) / len(distances)


def slow_si_sdr(estimate: FloatArray, reference: FloatArray) -> float:
    e, r = [float(x) for x in estimate], [float(x) for x in reference]
    a = math.fsum(x * y for x, y in zip(e, r, strict=True)) / math.fsum(y * y for y in r)
    signal = math.fsum((a * y) ** 2 for y in r)
    return 10 * math.log10(signal / math.fsum((a * y - x) ** 2 for x, y in zip(e, r, strict=True)))


@pytest.mark.parametrize("seed", range(20))
def test_rates_equal_the_definition_cell_by_cell(seed: int) -> None:
    estimate, reference = random_pair(seed)
    for above_hz in (0.0, 8_000.0):
        over, residual = slow_rates(estimate, reference, above_hz)
        found = cell_rates(estimate, reference, above_hz=above_hz)
        assert over + residual > 0.02, "a pair that crosses the margins"
        assert found.oversuppressed == pytest.approx(over, abs=1e-9)
        assert found.residual == pytest.approx(residual, abs=1e-9)
        scores = score_pair(estimate, reference, RATES)
        keys = ("osr_hf", "resid_hf") if above_hz else ("osr", "resid")
        assert [scores[key].value for key in keys] == pytest.approx([over, residual], abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_distances_equal_the_definition(seed: int) -> None:
    estimate, reference = random_pair(seed)
    assert log_spectral_distance(estimate, reference) == pytest.approx(slow_lsd(estimate, reference), abs=1e-9)
    assert si_sdr(estimate, reference) == pytest.approx(slow_si_sdr(estimate, reference), abs=1e-9)


def test_bands_hold_every_bin_to_20_khz_once_and_the_upper_ones_start_at_8_khz() -> None:
    start, stop, centre_hz = band_layout()
    assert start[0] == 1 and stop[-1] == 641
    assert (start[1:] == stop[:-1]).all() and (stop > start).all()
    assert (np.diff(centre_hz) > 0).all() and centre_hz[-1] < 20_000
    impulse = np.zeros(1536, dtype=np.float32)
    impulse[768] = 1.0  # flat spectrum: a band's power is its number of bins
    np.testing.assert_allclose(band_cells(impulse)[:, 0], stop - start, rtol=1e-6)


def test_an_identical_pair_is_perfect() -> None:
    clean = voice(3)
    scores = score_pair(clean, clean, QUICK)
    assert {key: score.value for key, score in scores.items()} == {
        "osr": 0.0, "osr_hf": 0.0, "resid": 0.0, "resid_hf": 0.0, "lsd": 0.0, "sisdr": 100.0,
    }  # fmt: skip


def test_the_default_set_has_the_agreed_keys_and_says_who_is_deaf() -> None:
    assert [m.key for m in DEFAULT_SET[:8]] == ["osr", "osr_hf", "resid", "resid_hf", "lsd", "sisdr", "pesq", "estoi"]
    assert {m.key: m.remark for m in DEFAULT_SET[:8] if m.remark} == {"pesq": "at 16 kHz", "estoi": "at 10 kHz"}
    assert [m.key for m in DEFAULT_SET[:8] if m.better == "higher"] == ["sisdr", "pesq", "estoi"]


def filtered(samples: FloatArray, gain_db: float, from_hz: float, to_hz: float) -> FloatArray:
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    spectrum[(hz >= from_hz) & (hz < to_hz)] *= from_db(gain_db)
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def test_a_cut_of_3_db_is_no_over_suppression_but_shows_in_the_spectral_distance() -> None:
    clean = voice(3)
    cut = filtered(clean, -3.0, 2_000, 6_000)
    rates = cell_rates(cut, clean)
    assert rates.oversuppressed < 0.001 and rates.residual == 0.0
    # A third of the bins is off by 3 dB in every frame where the voice is above the floor there.
    assert 0.3 < log_spectral_distance(cut, clean) < 3.0


def test_cuts_around_the_margin_of_10_db_fall_on_their_side() -> None:
    clean = voice(2)
    assert cell_rates(clean * np.float32(from_db(-9.9)), clean).oversuppressed == 0.0
    assert cell_rates(clean * np.float32(from_db(-10.1)), clean).oversuppressed == 1.0
    assert cell_rates(clean * np.float32(from_db(9.9)), clean).residual == 0.0
    assert cell_rates(clean * np.float32(from_db(10.1)), clean).residual == 1.0


def test_a_low_pass_at_8_khz_takes_the_upper_cells_and_no_others() -> None:
    clean = voice(3)
    dull = filtered(clean, -200.0, 8_000, 24_001)
    # The lowest of the upper bands begins one bin below 8 kHz, and keeps that bin.
    assert cell_rates(dull, clean, above_hz=8_000).oversuppressed > 0.97
    assert cell_rates(filtered(clean, -200.0, 7_900, 24_001), clean, above_hz=8_000).oversuppressed == 1.0
    assert cell_rates(dull, clean).oversuppressed < 0.25
    assert cell_rates(dull, clean).residual == 0.0


def test_added_noise_is_residual_and_not_over_suppression() -> None:
    clean = voice(3)
    noisy = clean + noise(3, level=0.1)
    rates = cell_rates(noisy, clean)
    assert rates.residual > 0.1 and rates.oversuppressed < 0.01


def test_a_delay_of_10_ms_kills_si_sdr() -> None:
    clean = voice(3)
    estimate = clean + noise(3, level=0.003)
    late = np.concatenate([np.zeros(480, np.float32), estimate[:-480]])
    assert si_sdr(estimate, clean) - si_sdr(late, clean) > 20.0


def test_si_sdr_ignores_level_and_stays_finite() -> None:
    clean = voice(1)
    noisy = clean + noise(1)
    assert si_sdr(noisy * np.float32(0.1), clean) == pytest.approx(si_sdr(noisy, clean), abs=1e-4)
    orthogonal = np.concatenate([clean[: len(clean) // 2] * 0, np.float32(0.1) * clean[len(clean) // 2 :]])
    assert si_sdr(orthogonal, np.concatenate([clean[: len(clean) // 2], clean[len(clean) // 2 :] * 0])) == -100.0


def test_one_gain_brings_the_reference_to_the_agreed_level() -> None:
    clean = voice(2, level=0.003)
    assert to_db(active_rms(clean * np.float32(item_gain(clean)))) == pytest.approx(-26.0, abs=1e-3)
    assert item_gain(np.zeros(4800, np.float32)) == 1.0
    dither = np.random.default_rng(0).choice([-1, 0, 1], 48_000).astype(np.float32) / 32_768
    assert is_silent(dither) and item_gain(dither) == 1.0


@pytest.mark.parametrize("samples", [10, 4_800, 48_000])
def test_a_silent_reference_is_not_available_for_a_reason(samples: int) -> None:
    silence, sound = np.zeros(samples, np.float32), noise(1)[:samples]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score_pair(sound, silence, [m for m in DEFAULT_SET if m.needs_reference])
    assert all(score.value is None and score.reason for score in scores.values())


def test_a_silent_output_is_wholly_over_suppressed() -> None:
    clean = voice(1)
    scores = score_pair(np.zeros_like(clean), clean, SETS["core"])
    assert scores["osr"].value == scores["osr_hf"].value == 1.0 and scores["resid"].value == 0.0
    assert scores["sisdr"] == Score(None, "the output is silent")


def test_a_tenth_of_a_second_gives_numbers_or_reasons() -> None:
    clean = voice(1)[24_000:28_800]
    scores = score_pair(clean * np.float32(0.5), clean, SETS["core"])
    assert scores["osr"].value == 0.0 and scores["estoi"].reason
    assert all((score.value is None) == bool(score.reason) for score in scores.values())


def test_nan_in_the_output_is_a_reason_and_unequal_lengths_are_refused() -> None:
    clean = voice(1)
    broken = clean.copy()
    broken[7] = np.nan
    assert {s.reason for s in score_pair(broken, clean, SETS["core"]).values()} == {
        "the output holds NaN or infinite samples"
    }
    with pytest.raises(ValueError, match="one length"):
        score_pair(clean[:-1], clean, SETS["core"])


def test_an_infinite_result_is_not_available() -> None:
    metric = Metric("x", "x", "", "higher", RATE, lambda estimate, reference: math.inf)
    assert score_pair(voice(1), voice(1), [metric])["x"] == Score(None, "the result is inf")


def test_a_reference_from_a_lower_rate_is_not_judged_on_its_rounding() -> None:
    clean = resample(resample(voice(3), RATE, 16_000), 16_000, RATE)[: 3 * RATE]
    hissing = clean + filtered(noise(3, level=1e-6), -300.0, 0, 9_000)
    assert cell_rates(hissing.astype(np.float32), clean).residual < 0.02
    assert cell_rates(clean, clean).active < cell_rates(voice(3), voice(3)).active


def test_an_absent_package_is_a_reason_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    scores = score_pair(voice(1), voice(1), SETS["core"])
    assert scores["pesq"] == Score(None, "pip install pesq (needs a C compiler)")
    assert scores["estoi"] == Score(None, "pip install '.[eval]' in the project's folder")


@needs_pesq
def test_pesq_is_the_packages_value_at_16_khz() -> None:
    from pesq import pesq

    clean = voice(3)
    noisy = clean + noise(3, level=0.01)
    expected = pesq(16_000, resample(clean, RATE, 16_000), resample(noisy, RATE, 16_000), "wb")
    assert pesq_wb(noisy, clean) == pytest.approx(expected, abs=1e-6)
    assert pesq_wb(clean, clean) > 4.6
    assert 1.0 < pesq_wb(noisy, clean) < 4.0


def test_long_items_reach_pesq_in_short_pieces_without_the_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def scored(pieces: list[tuple[FloatArray, FloatArray]]) -> list[float]:
        seen.extend(len(wanted) for wanted, _ in pieces)
        return [1.0 + i for i in range(len(pieces))]

    monkeypatch.setattr(perceptual, "_pesq_pieces", scored)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    clean = np.tile(voice(5), 13)
    clean[: 20 * RATE] = 0.0
    assert pesq_wb(clean, clean) == 2.0  # the mean of 1, 2 and 3: the first of four pieces is a pause
    assert len(seen) == 3 and max(seen) <= 20 * 16_000


def test_a_crash_of_pesq_costs_one_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())  # the worker is another one here
    crash = tmp_path / "crash.py"
    crash.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(perceptual, "_WORKER", crash)
    scores = score_pair(voice(1), voice(1), SETS["core"])
    assert scores["pesq"] == Score(None, "PESQ's process died of SIGSEGV", passing=True)
    assert scores["osr"].value == 0.0
    crash.write_text("raise ImportError('no such symbol')\n")
    with pytest.raises(NotComputableError, match="status 1: ImportError: no such symbol"):
        pesq_wb(voice(1), voice(1))


def test_pesq_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())  # the worker is another one here
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(perceptual, "_WORKER", slow)
    monkeypatch.setattr(perceptual, "TIMEOUT_S_PER_PIECE", 0.2)
    with pytest.raises(NotComputableError, match="did not end"):
        pesq_wb(voice(1), voice(1))


@needs_pystoi
def test_estoi_falls_with_noise_and_knows_too_little_speech() -> None:
    clean = voice(3)
    little, much = clean + noise(3, level=0.005), clean + noise(3, level=0.3)
    assert estoi(clean, clean) == pytest.approx(1.0, abs=1e-6)
    assert 1.0 > estoi(little, clean) > estoi(much, clean) + 0.1
    mostly_pause = np.zeros(2 * RATE, np.float32)
    mostly_pause[:9_600] = voice(1)[24_000:33_600]
    with pytest.raises(NotComputableError, match="less than"):
        estoi(mostly_pause, mostly_pause)


def test_the_rates_see_what_the_suppressor_takes_from_a_made_voice() -> None:
    clean = voice(4)
    noisy = clean + noise(4, level=0.03)
    degraded = load_suppressor()(noisy)
    before, after = cell_rates(noisy, clean), cell_rates(degraded, clean)
    assert before.oversuppressed < 0.02 < 0.05 < after.oversuppressed < 0.8
    assert after.residual < before.residual
    assert si_sdr(degraded, clean) > si_sdr(noisy, clean)


@pytest.mark.shared
def test_the_rates_see_what_the_suppressor_takes_from_real_voices(shared_data: Path) -> None:
    voices = sorted((shared_data / "speech").glob("*/*.flac"))
    noises = sorted((shared_data / "noise").glob("*.flac"))
    suppress, limited = load_suppressor(), load_suppressor(SuppressorSettings(attenuation_limit_db=12.0))
    found: dict[str, list[tuple[float, float]]] = {"noisy": [], "degraded": [], "limited": []}
    for i, snr_db in enumerate((2.0, 6.0, 10.0, 14.0)):
        clean = read_mono(voices[i * len(voices) // 4])[: 6 * RATE]
        added = np.resize(read_mono(noises[i * len(noises) // 4]), len(clean))
        mixed = (clean + added * (rms(clean) / rms(added) * from_db(-snr_db))).astype(np.float32)
        for name, output in (("noisy", mixed), ("degraded", suppress(mixed)), ("limited", limited(mixed))):
            rates = cell_rates(output, clean)
            found[name].append((rates.oversuppressed, rates.residual))
    noisy, degraded, limit = (np.mean(found[name], axis=0) for name in ("noisy", "degraded", "limited"))
    assert noisy[0] < 0.02 and 0.1 < degraded[0] < 0.6 and limit[0] < degraded[0]
    assert degraded[1] < 0.05 and degraded[1] < limit[1] < noisy[1]


def test_the_metrics_load_no_optional_package() -> None:
    code = (
        "import sys, timbre_restore.metrics, timbre_restore.evaluation\n"
        "late = {'torch', 'pesq', 'pystoi', 'scipy', 'matplotlib', 'PIL', 'librosa', 'speechmos'} & set(sys.modules)\n"
        "sys.exit(str(late) if late else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
