"""Metrics beyond the core: equal to written-out or packaged versions, moved by planted defects, n/a for a reason."""

from __future__ import annotations

import importlib.util
import itertools
import math
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from tests.test_metrics import filtered, frame_powers, random_pair
from tests.voices import RATE, noise, voice
from timbre_restore.audio import FloatArray, from_db, resample, stft
from timbre_restore.metrics import (
    BANDS_KHZ,
    DEFAULT_SET,
    SETS,
    Metric,
    NotComputableError,
    Score,
    band_gain,
    band_spectral_distance,
    by_name,
    composite,
    cost_s,
    dnsmos,
    mel_cepstral_distortion,
    perceptual,
    score_alone,
    score_pair,
    speaker_similarity,
    words,
)
from timbre_restore.metrics.dnsmos import dnsmos_at_16_khz, window_starts
from timbre_restore.metrics.frames import BLOCK_FRAMES, power_blocks
from timbre_restore.metrics.spectra import cepstral_distance


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"without {', '.join(missing)}")


NEEDS = {"pesq": "pesq", "csig": "pesq", "cbak": "pesq", "covl": "pesq", "estoi": "pystoi"}


def is_there(metric: Metric) -> bool:
    """Whether the package is installed that a metric needs."""
    package = "speechmos" if metric.key.startswith("dnsmos") else NEEDS.get(metric.key)
    return package is None or importlib.util.find_spec(package) is not None


def hissing_voice(seconds: float, seed: int = 0) -> FloatArray:
    """A voice with something in every band, as a recording has."""
    rng = np.random.default_rng([seed, 5])
    return voice(seconds, seed) + (2e-3 * rng.standard_normal(int(seconds * RATE))).astype(np.float32)


def test_a_cut_of_3_db_in_one_band_shows_in_that_band_alone() -> None:
    clean = hissing_voice(3)
    for cut, (low, high) in enumerate(BANDS_KHZ):
        dull = filtered(clean, -3.0, 1000 * low, 1000 * high)
        for percentile in (10.0, 50.0):
            gains = [band_gain(dull, clean, band=band, percentile=percentile) for band in range(5)]
            assert gains == pytest.approx([-3.0 * (band == cut) for band in range(5)], abs=0.1)
        distances = [band_spectral_distance(dull, clean, band=band) for band in range(5)]
        assert max(range(5), key=lambda band: distances[band]) == cut
        assert distances[cut] == pytest.approx(3.0, abs=0.4)


def test_a_loss_in_few_frames_is_missed_by_the_median_and_shown_by_the_tenth_percentile() -> None:
    clean = np.random.default_rng(2).standard_normal(3 * RATE).astype(np.float32) * np.float32(0.1)
    holed = clean.copy()
    for second in range(3):
        holed[second * RATE : second * RATE + RATE // 5] *= np.float32(0.1)
    assert band_gain(holed, clean, band=2) == pytest.approx(0.0, abs=0.01)
    assert band_gain(holed, clean, band=2, percentile=10.0) == pytest.approx(-20.0, abs=0.5)


@pytest.mark.parametrize("seed", [0, 7])
def test_band_values_equal_the_definition(seed: int) -> None:
    estimate, reference = random_pair(seed)
    wanted, given = (frame_powers(x, 2048, 512) for x in (reference, estimate))
    floor = max(max(frame) for frame in wanted) * 1e-8
    loudest = max(sum(frame) for frame in wanted)
    for band, (low, high) in enumerate(BANDS_KHZ):
        bins = [k for k in range(1025) if low * 1000 < k * 23.4375 <= high * 1000 or (low == 0 and k == 0)]
        distances = [
            math.sqrt(sum((10 * math.log10(max(e[k], floor) / max(r[k], floor))) ** 2 for k in bins) / len(bins))
            for e, r in zip(given, wanted, strict=True)
            if sum(r) >= loudest * 1e-4
        ]
        found = band_spectral_distance(estimate, reference, band=band)
        assert found == pytest.approx(sum(distances) / len(distances), abs=1e-9)
        powers = [(sum(e[k] for k in bins), sum(r[k] for k in bins)) for e, r in zip(given, wanted, strict=True)]
        peak = max(r for _, r in powers)
        gains = sorted(10 * math.log10(e / r) for e, r in powers if r >= peak * 10**-2.5)
        middle = (gains[(len(gains) - 1) // 2] + gains[len(gains) // 2]) / 2
        assert band_gain(estimate, reference, band=band) == pytest.approx(middle, abs=1e-9)


def test_a_band_that_the_reference_lacks_has_no_value() -> None:
    low = resample(resample(voice(2), RATE, 16_000), 16_000, RATE)[: 2 * RATE]
    with pytest.raises(NotComputableError, match="nothing from 12 to 16 kHz"):
        band_gain(low, low, band=3)


def test_cepstral_distortion_of_a_known_ripple_is_its_size() -> None:
    hz = np.arange(1025) * 23.4375
    wanted = np.ones((1025, 3))
    assert cepstral_distance(2.0 * wanted, wanted, 1e-9) == pytest.approx(0.0, abs=1e-9), "level is not heard"
    break_mel, top = 15.0, 15.0 + math.log(20.0) * 27 / math.log(6.4)
    scale = np.where(hz < 1000, hz * 3 / 200, break_mel + np.log(np.maximum(hz, 1000) / 1000) * 27 / math.log(6.4))
    for order, depth in ((1, 0.3), (2, 0.1)):
        # ln |X| = depth·cos(π·order·mel / top) has the one cepstral coefficient `depth`.
        ripple = np.exp(2 * depth * np.cos(np.pi * order * scale / top))[:, None] * wanted
        expected = 10 / math.log(10) * math.sqrt(2) * depth
        assert cepstral_distance(ripple, wanted, 1e-9) == pytest.approx(expected, rel=0.03)


def slow_llr(e: list[np.ndarray], r: list[np.ndarray]) -> float:
    def lags(x: np.ndarray) -> np.ndarray:
        return np.array([sum(x[t] * x[t + k] for t in range(480 - k)) for k in range(17)])

    ratios = []
    for given, wanted in zip(e, r, strict=True):
        filters = []
        for found in (lags(given), lags(wanted)):
            matrix = np.array([[found[abs(i - j)] for j in range(16)] for i in range(16)])
            filters.append(np.concatenate([[1.0], -np.linalg.solve(matrix, found[1:])]))
        of_wanted = lags(wanted)
        big = np.array([[of_wanted[abs(i - j)] for j in range(17)] for i in range(17)])
        ratios.append(math.log((filters[0] @ big @ filters[0]) / (filters[1] @ big @ filters[1])))
    kept = sorted(ratios)[: round(0.95 * len(ratios))]
    return sum(kept) / len(kept)


def slow_wss(e: list[np.ndarray], r: list[np.ndarray]) -> float:
    from timbre_restore.metrics.slopes import CENTRES_HZ, WIDTHS_HZ

    def levels(x: np.ndarray) -> list[float]:
        power = np.abs(np.fft.fft(x, 1024)[:512]) ** 2
        out = []
        for centre, width in zip(CENTRES_HZ, WIDTHS_HZ, strict=True):
            f0, bw = math.floor(centre / 8000 * 512), width / 8000 * 512
            gains = [math.exp(-11 * ((k - f0) / bw) ** 2 + math.log(70) - math.log(width)) for k in range(512)]
            out.append(sum(g * p for g, p in zip(gains, power, strict=True) if g > math.exp(-30 / 4.606)))
        return [max(-100.0, 10 * math.log10(x)) for x in out]

    def weighted(level: list[float]) -> tuple[list[float], list[float]]:
        slope = [b - a for a, b in itertools.pairwise(level)]
        weights = []
        for i in range(24):
            n = i
            if slope[i] > 0:
                while n < 24 and slope[n] > 0:
                    n += 1
                peak = level[n - 1]
            else:
                while n >= 0 and slope[n] <= 0:
                    n -= 1
                peak = level[n + 1]
            weights.append(20 / (20 + max(level) - level[i]) / (1 + peak - level[i]))
        return slope, weights

    found = []
    for given, wanted in zip(e, r, strict=True):
        (s1, w1), (s2, w2) = weighted(levels(given)), weighted(levels(wanted))
        total = [(a + b) / 2 for a, b in zip(w1, w2, strict=True)]
        found.append(sum(w * (a - b) ** 2 for w, a, b in zip(total, s1, s2, strict=True)) / sum(total))
    kept = sorted(found)[: round(0.95 * len(found))]
    return sum(kept) / len(kept)


def test_composites_equal_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    monkeypatch.setattr(sys.modules["timbre_restore.metrics.composite"], "pesq_wb", lambda e, r: 2.5)
    clean = hissing_voice(1)[: RATE // 4]
    noisy = clean + (0.01 * rng.standard_normal(len(clean))).astype(np.float32)
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / 481) for n in range(1, 481)])
    frames = []
    for x in (resample(noisy, RATE, 16_000), resample(clean, RATE, 16_000)):
        frames.append([window * x[at : at + 480].astype(float) for at in range(0, len(x) - 480 - 119, 120)])
    ratios = [10 * math.log10(sum(w**2) / sum((w - g) ** 2)) for g, w in zip(*frames, strict=True)]
    segsnr_db = sum(min(35.0, max(-10.0, x)) for x in ratios) / len(ratios)
    llr, wss = slow_llr(*frames), slow_wss(*frames)
    found = composite(noisy, clean)
    assert (found.llr, found.wss, found.segsnr_db) == pytest.approx((llr, wss, segsnr_db), abs=1e-6)
    assert found.csig == pytest.approx(np.clip(3.093 - 1.029 * llr + 0.603 * 2.5 - 0.009 * wss, 1, 5), abs=1e-6)
    assert found.cbak == pytest.approx(1.634 + 0.478 * 2.5 + 0.063 * segsnr_db - 0.007 * wss, abs=1e-6)
    assert found.covl == pytest.approx(np.clip(1.594 - 0.512 * llr + 0.805 * 2.5 - 0.007 * wss, 1, 5), abs=1e-6)


@needs("speechmos")
def test_dnsmos_gives_the_value_that_the_package_gave() -> None:
    found = dnsmos_at_16_khz(resample(voice(4, seed=3), RATE, 16_000))
    assert (found.sig, found.bak, found.ovrl, found.p808) == pytest.approx((2.0730, 3.5880, 1.9369, 2.8343), abs=1e-3)


@pytest.mark.slow
@needs("speechmos", "librosa", "requests")
def test_dnsmos_equals_the_package() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from speechmos import dnsmos as package

    for seconds in (1.5, 11.5):
        heard = resample(voice(seconds, seed=3), RATE, 16_000)
        found, expected = dnsmos_at_16_khz(heard), package.run(heard, 16_000)
        for ours, theirs in (("sig", "sig_mos"), ("bak", "bak_mos"), ("ovrl", "ovrl_mos"), ("p808", "p808_mos")):
            assert getattr(found, ours) == pytest.approx(float(expected[theirs]), abs=1e-4)


@needs("speechmos")
def test_dnsmos_is_levelled_and_needs_no_reference() -> None:
    noisy = voice(1) + noise(1, level=0.02)
    scores = score_alone(noisy, DEFAULT_SET)
    # What is left of the level are the resampler's last bits.
    assert scores["dnsmos_sig"].value == pytest.approx(dnsmos(noisy * np.float32(0.01)).sig, abs=1e-3)
    assert scores["pesq"] == Score(None, "it needs a reference")
    assert {key for key, score in scores.items() if score.value is not None} == {
        "dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808",
    }  # fmt: skip


def test_windows_of_dnsmos_are_every_second_and_spread_over_a_long_recording() -> None:
    assert window_starts(9 * 16_000) == window_starts(10 * 16_000) == [0]
    assert window_starts(20 * 16_000) == [n * 16_000 for n in range(11)]
    long = window_starts(600 * 16_000)
    assert len(long) == 20 and long[0] == 0 and long[-1] == 590 * 16_000


@needs("resemblyzer", "webrtcvad", "librosa", "torch")
def test_speaker_similarity_is_the_packages_cosine() -> None:
    clean, other = voice(4, seed=1), voice(4, seed=2)
    noisy = clean + noise(4, level=0.03)
    assert speaker_similarity(clean * np.float32(0.1), clean) == pytest.approx(1.0, abs=1e-3)
    assert max(speaker_similarity(x, clean) for x in (other, noisy)) < 0.98
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from resemblyzer import VoiceEncoder, preprocess_wav

        encoder = VoiceEncoder("cpu", verbose=False)
        heard = [resample(x, RATE, 16_000) for x in (noisy, clean)]
        levelled = [x / np.sqrt(np.mean(x**2)) * from_db(-30) for x in heard]
        a, b = (encoder.embed_utterance(preprocess_wav(x.astype(np.float32))) for x in levelled)
    assert speaker_similarity(noisy, clean) == pytest.approx(float(a @ b), abs=1e-4)
    with pytest.raises(NotComputableError, match="of voice"):
        speaker_similarity(clean[:9_600], clean[:9_600])


def rolled(clean: FloatArray) -> FloatArray:
    return np.concatenate([np.zeros(480, np.float32), clean[:-480]])


def dropped(clean: FloatArray) -> FloatArray:
    loudest = max(range(0, len(clean) - 960, 480), key=lambda at: float(np.sum(clean[at : at + 960] ** 2)))
    holed = clean.copy()
    holed[loudest : loudest + 960] = 0.0
    return holed


def hissed(clean: FloatArray) -> FloatArray:
    hiss = np.random.default_rng(8).standard_normal(len(clean))
    return (clean + hiss * from_db(-40.0) * np.sqrt(np.mean(clean**2))).astype(np.float32)


DEFECTS: dict[str, tuple[Callable[[FloatArray], FloatArray], str, str]] = {
    "3 dB in 8–12 kHz": (
        lambda x: filtered(x, -3.0, 8_000, 12_000),
        "lsd lsd_8_12 gain_8_12 gain_p10_8_12 mcd",
        "osr resid pesq estoi gain_0_4 lsd_16_20 csig cbak covl",
    ),
    "10 ms": (rolled, "sisdr osr resid lsd mcd estoi csig cbak covl gain_p10_4_8", ""),
    "20 ms gone": (dropped, "sisdr osr lsd mcd estoi pesq covl", "resid_hf gain_0_4 gain_12_16"),
    "hiss at −40 dB": (hissed, "lsd lsd_4_8 sisdr mcd pesq dnsmos_bak dnsmos_ovrl", "osr resid gain_0_4 gain_12_16"),
    "low-pass at 8 kHz": (
        lambda x: filtered(x, -200.0, 8_000, 24_001),
        "osr osr_hf lsd lsd_8_12 mcd gain_8_12 gain_16_20 sisdr",
        "resid pesq estoi gain_0_4 lsd_0_4 csig cbak covl",
    ),
    "polarity": (lambda x: -x, "cbak", "osr resid lsd sisdr mcd pesq estoi csig covl gain_4_8"),
}
STEP = {"%": 0.001, "dB": 0.02, "MOS": 0.03, "": 0.002}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_moves_the_metrics_that_hear_it_and_no_deaf_one(defect: str) -> None:
    plant, hears, deaf = DEFECTS[defect]
    clean = hissing_voice(3)
    metrics = [metric for metric in by_name(f"{hears} {deaf}".split()) if is_there(metric)]
    perfect, scores = (score_pair(x, clean, metrics) for x in (clean, plant(clean)))
    for metric in metrics:
        before, after = perfect[metric.key].value, scores[metric.key].value
        assert before is not None and after is not None, (metric.key, scores[metric.key])
        worse = {"lower": after - before, "higher": before - after, "zero": abs(after)}[metric.better]
        assert (worse > STEP[metric.unit]) == (metric.key in hears.split()), (metric.key, before, after)


@needs("pesq", "pystoi")
def test_an_identical_pair_is_perfect_for_every_metric() -> None:
    clean = hissing_voice(3)
    top = {"sisdr": 100.0, "pesq": 4.6438, "estoi": 1.0, "csig": 5.0, "cbak": 5.0, "covl": 5.0}
    scores = score_pair(clean, clean, [m for m in DEFAULT_SET if m.needs_reference])
    expected = {key: top.get(key, 0.0) for key in scores}
    assert {key: score.value for key, score in scores.items()} == pytest.approx(expected, abs=1e-3)


def test_one_pair_runs_pesq_once_and_a_failure_of_it_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    calls: list[int] = []
    monkeypatch.setattr(perceptual, "_pesq_pieces", lambda pieces: calls.append(1) or [2.0])
    clean, metrics = voice(1), by_name(["pesq", "csig", "cbak", "covl"])
    assert all(score.value for score in score_pair(clean, clean, metrics).values())
    assert len(calls) == 1
    score_pair(clean, clean, metrics)
    assert len(calls) == 2, "nothing outlives its pair"

    def broken(pieces: object) -> list[float]:
        calls.append(1)
        raise NotComputableError("PESQ: died")

    monkeypatch.setattr(perceptual, "_pesq_pieces", broken)
    assert set(score_pair(clean, clean, metrics).values()) == {Score(None, "PESQ: died")}
    assert len(calls) == 3


@needs("speechmos")
def test_whatever_a_package_raises_costs_its_values_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("model is torn\nand more")

    monkeypatch.setattr(sys.modules["timbre_restore.metrics.dnsmos"], "_sessions", broken)
    scores = score_pair(voice(1), voice(1), by_name(["osr", "dnsmos_sig", "dnsmos_p808"]))
    assert (
        scores["dnsmos_sig"]
        == scores["dnsmos_p808"]
        == Score(None, "DNSMOS: RuntimeError: model is torn", passing=True)
    )
    assert scores["osr"].value == 0.0


def test_every_absent_package_is_a_reason_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pesq", "pystoi", "speechmos", "resemblyzer", "visqol", "distillmos", "faster_whisper"):
        monkeypatch.setitem(sys.modules, name, None)
    scores = score_pair(voice(1), voice(1), SETS["all"])  # no package: it is quick
    without = {key for key, score in scores.items() if score.value is None}
    assert {"pesq", "csig", "estoi", "dnsmos_sig", "speaker", "visqol", "distillmos", "wer"} <= without
    assert all(str(scores[key].reason).startswith("pip install ") for key in without)


@needs("speechmos")
@pytest.mark.parametrize("case", ["silence", "silent output", "NaN", "0.1 s", "one sample", "nothing"])
def test_odd_signals_give_a_value_or_a_reason(case: str) -> None:
    clean = voice(1)
    estimate, reference = {
        "silence": (clean * 0, clean * 0),
        "silent output": (clean * 0, clean),
        "NaN": (np.where(np.arange(RATE) == 5, np.nan, clean).astype(np.float32), clean),
        "0.1 s": (clean[24_000:28_800] * np.float32(0.5), clean[24_000:28_800]),
        "one sample": (clean[25_000:25_001], clean[25_000:25_001]),
        "nothing": (clean[:0], clean[:0]),
    }[case]
    scores = score_pair(estimate, reference, DEFAULT_SET) | score_alone(estimate, by_name(["dnsmos_sig"]))
    assert all((score.value is None) == bool(score.reason) for score in scores.values())
    if case in ("silence", "NaN", "nothing"):
        assert all(score.reason for score in scores.values())


def test_a_long_signal_is_taken_in_blocks_with_the_same_frames() -> None:
    samples = np.random.default_rng(1).standard_normal((BLOCK_FRAMES + 700) * 64).astype(np.float32)
    blocks = list(power_blocks(samples, 256, 64))
    assert len(blocks) == 2
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), np.abs(stft(samples, 256, 64)) ** 2, rtol=1e-12)


def test_metrics_are_found_by_key_and_by_set_and_an_unknown_one_gets_its_neighbour() -> None:
    assert [m.key for m in by_name(["pesq", "osr"])] == ["osr", "pesq"]
    assert by_name(["default"]) == DEFAULT_SET and by_name(["core", "osr"]) == SETS["core"]
    with pytest.raises(ValueError, match=r"unknown metric 'pesk' \(did you mean 'pesq'\?\), 'gain0_4' .*'gain_0_4'"):
        by_name(["osr", "pesk", "gain0_4"])


def test_every_metric_says_what_it_is() -> None:
    assert len({m.key for m in SETS["all"]}) == len(SETS["all"])
    assert set(SETS["core"]) < set(DEFAULT_SET) < set(SETS["more"]) < set(SETS["all"])
    assert 0.0 < cost_s(DEFAULT_SET) < 2.0
    for metric in SETS["all"]:
        assert metric.cost_s > 0.0 and "deaf" in metric.about.lower(), metric.key
    assert {m.key for m in SETS["all"] if not m.needs_reference} == {
        "dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808", "distillmos",
    }  # fmt: skip


def test_word_errors_are_the_fewest_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert words.words_of("Don't stop, NOW!") == ("don't", "stop", "now")
    assert words.edits("axc", "abcd") == 2
    assert words.edits("", "ab") == 2 and words.edits("ab", "") == 2
    said = {1: ("take", "care"), 2: ("take", "good", "care", "now")}
    monkeypatch.setattr(words, "require_package", lambda *_: None)
    monkeypatch.setattr(words, "transcript", lambda samples: said[int(samples[0])])
    pair = [np.full(480, n, dtype=np.float32) for n in (2, 1)]
    assert words.word_error_rate(pair[0], pair[1]) == 1.0


@needs("visqol")
def test_visqol_leaves_pauses_out() -> None:
    """Dither of a bit in 20 s of a reference is no speech, however well an output keeps it."""
    clean = np.concatenate([voice(2.0), np.zeros(38 * RATE, np.float32)])
    clean[-1] = 2.0**-15
    dull = np.convolve(clean, np.ones(12) / 12, "same").astype(np.float32)
    half, (found,) = len(clean) // 2, score_pair(dull, clean, by_name(["visqol"])).values()
    assert found.value == score_pair(dull[:half], clean[:half], by_name(["visqol"]))["visqol"].value


@needs("visqol")
def test_visqol_hears_the_upper_octaves() -> None:
    clean = hissing_voice(3)
    metrics = by_name(["visqol", "visqol_hf"])
    same, dull = (score_pair(x, clean, metrics) for x in (clean, filtered(clean, -200.0, 8_000, 24_001)))
    assert same["visqol"].value == pytest.approx(4.732, abs=1e-3) and same["visqol_hf"].value == pytest.approx(1.0)
    assert dull["visqol"].value < 4.0 and dull["visqol_hf"].value < 0.5


@needs("distillmos", "torch")
def test_distillmos_needs_no_reference_and_no_level() -> None:
    noisy = voice(3) + noise(3, level=0.1)
    (loud, quiet, clean) = (
        score_alone(x, by_name(["distillmos"]))["distillmos"].value for x in (noisy, noisy * np.float32(0.1), voice(3))
    )
    assert loud == pytest.approx(quiet, abs=1e-3) and 1.0 <= loud <= 5.0 and 1.0 <= clean <= 5.0
    assert "torchaudio" not in sys.modules


def test_a_reference_without_a_word_has_no_word_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(words, "transcript", lambda samples: ())
    score = score_pair(noise(2), noise(2), by_name(["wer"]))["wer"]
    assert (score.value, score.reason) == (None, "the recogniser hears no words in the reference")


def test_cepstral_distortion_of_a_pair_is_over_its_active_frames() -> None:
    clean = hissing_voice(2)
    assert mel_cepstral_distortion(clean * np.float32(0.5), clean) < 0.1
    assert mel_cepstral_distortion(filtered(clean, -12.0, 4_000, 24_001), clean) > 1.0
