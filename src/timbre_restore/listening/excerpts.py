"""What is played: an excerpt of each item with one gain for all its signals, and anchors made from the reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from timbre_restore.audio import FloatArray, to_db
from timbre_restore.errors import ListeningError
from timbre_restore.metrics import item_gain

FADE_S = 0.010
CEILING = 0.99
FRAME_S = 0.010
ACTIVE_DB = 40.0
ANCHOR_HZ = {"low anchor": 3_500.0, "mid anchor": 7_000.0}
# BS.1534 requires of the 3.5 kHz filter: within 0.1 dB below it, 25 dB down at 4 kHz, 50 dB at 4.5 kHz.
TRANSITION_HZ = 500.0
STOP_DB = 60.0


def busiest_start(reference: FloatArray, length: int, rate_hz: int) -> int:
    """Start sample of the excerpt of `length` samples with the most active speech; the first one in a tie."""
    frame = max(1, round(FRAME_S * rate_hz))
    count = len(reference) // frame
    wide = length // frame
    if length >= len(reference) or wide >= count:
        return 0
    power = np.mean(reference[: count * frame].reshape(count, frame).astype(np.float64) ** 2, axis=1)
    active = power >= power.max() * 10.0 ** (-ACTIVE_DB / 10.0)
    total = np.concatenate([[0], np.cumsum(active)])
    start = int(np.argmax(total[wide:] - total[: count - wide + 1])) * frame
    return min(start, len(reference) - length)


def low_pass(samples: FloatArray, pass_hz: float, rate_hz: int) -> FloatArray:
    """`[T]` with nothing above `pass_hz` plus the transition band; linear phase, no delay.

    A windowed sinc: h[n] = 2·f·sinc(2·f·n)·kaiser, with f in the middle of the transition. Kaiser's formulas give the
    window's shape, β = 0.1102·(A − 8.7), and the order, (A − 8) / (2.285·Δω).
    """
    if pass_hz + TRANSITION_HZ >= rate_hz / 2:
        raise ListeningError(
            f"an anchor of {pass_hz / 1000:g} kHz needs more bandwidth than a rate of {rate_hz} Hz gives; expected at "
            f"least {2 * (pass_hz + TRANSITION_HZ):g} Hz, so use files with a higher sample rate."
        )
    half = int(np.ceil((STOP_DB - 8.0) / (2.285 * 2.0 * np.pi * TRANSITION_HZ / rate_hz) / 2.0))
    middle = (pass_hz + TRANSITION_HZ / 2.0) / rate_hz
    taps = 2.0 * middle * np.sinc(2.0 * middle * np.arange(-half, half + 1))
    taps *= np.kaiser(2 * half + 1, 0.1102 * (STOP_DB - 8.7))
    padded = np.concatenate([np.zeros(half), samples, np.zeros(half)])
    return np.convolve(padded, taps / taps.sum(), mode="valid").astype(np.float32)


def faded(samples: FloatArray, rate_hz: int, *, begin: bool, end: bool) -> FloatArray:
    """`[T]` with raised-cosine fades where it was cut, since a cut in mid-sound clicks."""
    count = min(round(FADE_S * rate_hz), len(samples) // 2)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / max(count, 1))).astype(np.float32)
    out = samples.copy()
    if begin and count:
        out[:count] *= ramp
    if end and count:
        out[-count:] *= ramp[::-1]
    return out


def levelled(signals: Mapping[str, FloatArray], reference: FloatArray) -> tuple[dict[str, FloatArray], float]:
    """All signals of an item at the reference's gain, or less if any would exceed full scale; and that gain in dB.

    Levels relative to each other are kept: a system that removed some of the voice is heard as quieter.
    """
    loudest = max(float(np.abs(samples).max(initial=0.0)) for samples in signals.values())
    gain = min(item_gain(reference), CEILING / loudest if loudest > 0.0 else np.inf)
    return {name: samples * np.float32(gain) for name, samples in signals.items()}, to_db(gain)
