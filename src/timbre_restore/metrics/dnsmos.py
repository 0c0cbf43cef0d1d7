"""DNSMOS P.835 and P.808: ratings by two small networks that need no reference.

Reddy et al. 2022, 'DNSMOS P.835: a non-intrusive perceptual objective speech quality metric to evaluate noise
suppressors', and 2021 (P.808). The networks come from the wheel `speechmos`, of which only the two ONNX files are used.
Its Python code would pull in librosa and requests for one mel spectrogram, and opens ONNX sessions with a thread per
core; a test verifies that this version gives the same values.

The procedure is the package's: at 16 kHz, the mean over windows of 9.01 s every second; a shorter recording is repeated
until it fills one window, so below 9.01 s the repetition is heard too. There are two differences: the package skips
some windows of a recording over 16 s because of a rounding error, this does not; and a long recording is sampled by 20
evenly spaced windows. Both networks depend on level, so each signal is levelled by itself to −26 dBFS of active speech.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray
from timbre_restore.metrics.base import item_gain, require_speech
from timbre_restore.metrics.mel import mel_filters
from timbre_restore.metrics.perceptual import PESQ_RATE_HZ, at_16_khz
from timbre_restore.metrics.sharing import NotComputableError, failures_of, once_per_pair, require_package

RATE_HZ = PESQ_RATE_HZ
WINDOW_SAMPLES = 144_160
# A fragment repeated a hundred times is a buzz, not speech.
SHORTEST_S = 0.5
# One window costs as much as all other metrics of ten seconds together.
MOST_WINDOWS = 20
COMMAND = "pip install speechmos==0.0.1.1"
# The package's mapping from raw outputs to ratings: the coefficients of x², x and 1.
SIG = (-0.08397278, 1.22083953, 0.0052439)
BAK = (-0.13166888, 1.60915514, -0.39604546)
OVRL = (-0.06766283, 1.11546468, 0.04602535)
MEL_BANDS, MEL_FFT, MEL_HOP = 120, 321, 160


@dataclass(frozen=True)
class Dnsmos:
    """Mean ratings over the windows: speech, background, overall (P.835), overall (P.808)."""

    sig: float
    bak: float
    ovrl: float
    p808: float


@once_per_pair
def dnsmos(estimate: FloatArray) -> Dnsmos:
    """All four ratings of a recording `[T]` at 48 kHz."""
    require_package("speechmos", COMMAND)
    if len(estimate) < SHORTEST_S * SAMPLE_RATE_HZ:
        raise NotComputableError(f"shorter than {SHORTEST_S} s")
    require_speech(estimate)
    level = np.float32(item_gain(estimate))
    with failures_of("DNSMOS"):
        return dnsmos_at_16_khz(at_16_khz(estimate) * level)


def dnsmos_at_16_khz(samples: FloatArray) -> Dnsmos:
    """The ratings of `[T]` at 16 kHz, without levelling."""
    period, filled = len(samples), samples
    while len(filled) < WINDOW_SAMPLES:
        filled = np.concatenate([filled, filled])
    # Windows of a repeated recording that start at the same place in it are identical: each is rated once.
    phases = [at % period for at in window_starts(len(filled))]
    rated = {at: _rated(filled[at : at + WINDOW_SAMPLES]) for at in set(phases)}
    return Dnsmos(*(float(x) for x in np.mean([rated[at] for at in phases], axis=0)))


def _rated(window: FloatArray) -> list[float]:
    """Speech, background, overall and P.808 of one window `[144160]`."""
    p835, p808 = _sessions()
    window = np.asarray(window, dtype=np.float32)
    raw = p835.run(None, {"input_1": window[None]})[0][0]
    mel = mel_levels(window[:-MEL_HOP]).astype(np.float32)
    ratings = [float(np.polyval(curve, value)) for curve, value in zip((SIG, BAK, OVRL), raw, strict=True)]
    return [*ratings, float(p808.run(None, {"input_1": mel[None]})[0][0][0])]


def window_starts(samples: int) -> list[int]:
    """Start samples of the windows of a recording of `samples` samples: on whole seconds, at most 20."""
    count = max(1, samples // RATE_HZ - 9)  # the package's count; sometimes one more would fit
    seconds = np.unique(np.linspace(0, count - 1, min(count, MOST_WINDOWS)).round().astype(int))
    return [int(second) * RATE_HZ for second in seconds]


def mel_levels(window: FloatArray) -> NDArray[np.float64]:
    """The input of the P.808 network for a window `[T]`: 120 mel levels per 10 ms, `[N, 120]`, 0 dB at the peak → 1.

    Frames of 321 samples are centred on multiples of the hop; below −80 dB counts as −80 dB.
    """
    padded = np.pad(np.asarray(window, dtype=np.float64), MEL_FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, MEL_FFT)[::MEL_HOP]
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(MEL_FFT) / MEL_FFT)
    power = np.abs(np.fft.rfft(frames * hann, axis=1)) ** 2
    level_db = 10.0 * np.log10(np.maximum(power @ _filters().T, 1e-10))
    return np.asarray((np.maximum(level_db - level_db.max(), -80.0) + 40.0) / 40.0)


@functools.cache
def _filters() -> NDArray[np.float64]:
    return mel_filters(MEL_BANDS, MEL_FFT, RATE_HZ, RATE_HZ / 2)


@functools.cache
def _sessions() -> tuple[Any, Any]:
    """The P.835 and the P.808 network, on one thread each, loaded once per process."""
    import onnxruntime

    found = importlib.util.find_spec("speechmos")
    if found is None or not found.submodule_search_locations:
        raise NotComputableError(COMMAND)
    folder = Path(found.submodule_search_locations[0]) / "dnsmos_models"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    p835, p808 = (
        onnxruntime.InferenceSession(folder / name, options, providers=["CPUExecutionProvider"])
        for name in ("sig_bak_ovr.onnx", "model_v8.onnx")
    )
    return p835, p808


def dnsmos_sig(estimate: FloatArray) -> float:
    """DNSMOS P.835 of the speech, about 1 to 5, higher is better. `[T]` at 48 kHz; listens at 16 kHz.

    Reddy et al. 2022. Needs no reference, and so can't know whose voice it was: it ranks a suppressor's clean, dull
    output above one with more voice and more noise. Deaf above 8 kHz and to level (levelled here); n/a for silence.
    """
    return dnsmos(estimate).sig


def dnsmos_bak(estimate: FloatArray) -> float:
    """DNSMOS P.835 of the background, about 1 to 5, higher is better. `[T]` at 48 kHz; listens at 16 kHz.

    Reddy et al. 2022. Deaf above 8 kHz, to level, and to what the quiet cost the voice.
    """
    return dnsmos(estimate).bak


def dnsmos_ovrl(estimate: FloatArray) -> float:
    """DNSMOS P.835 of the whole, about 1 to 5, higher is better. `[T]` at 48 kHz; listens at 16 kHz.

    Reddy et al. 2022. Follows the background more than the speech. Deaf above 8 kHz and to level.
    """
    return dnsmos(estimate).ovrl


def dnsmos_p808(estimate: FloatArray) -> float:
    """DNSMOS P.808, one rating of the whole, about 1 to 5, higher is better. `[T]` at 48 kHz; listens at 16 kHz.

    Reddy et al. 2021, on 120 mel levels relative to the loudest. Deaf above 8 kHz, to level and to phase.
    """
    return dnsmos(estimate).p808
