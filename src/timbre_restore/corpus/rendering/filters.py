"""Zero-delay filters over whole signals, for varied sounds and band limits."""

from __future__ import annotations

import numpy as np

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, fast_length
from timbre_restore.corpus.planning.draw import Variation

_OCTAVE = np.log(2.0)
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 20_000.0  # a tilt applies between these and is flat beyond


def low_passed(signal: FloatArray, limit_hz: int) -> FloatArray:
    """Low-pass `[T]` at `limit_hz` without delay; a raised cosine over the last tenth of the band."""
    size = fast_length(len(signal) + SAMPLE_RATE_HZ // 10)  # room for ringing
    spectrum = np.fft.rfft(signal, size)
    share = np.clip((np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ) / limit_hz - 0.9) / 0.1, 0.0, 1.0)
    gain = (0.5 + 0.5 * np.cos(np.pi * share)).astype(np.float32)
    return np.asarray(np.fft.irfft(spectrum * gain, size)[: len(signal)], dtype=np.float32)


def filtered(stretch: FloatArray, variation: Variation) -> FloatArray:
    """Apply a tilt around 1 kHz and one peak an octave wide, as gains on the spectrum of the whole stretch."""
    if not variation.tilt_db_per_octave and not variation.peak_db:
        return stretch
    size = fast_length(len(stretch))
    hertz = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ)
    octaves = np.log(np.clip(hertz, _LOWEST_HZ, _HIGHEST_HZ) / 1000.0) / _OCTAVE
    from_peak = np.log(np.maximum(hertz, 1.0) / variation.peak_hz) / _OCTAVE
    gain_db = variation.tilt_db_per_octave * octaves + variation.peak_db * np.exp(-4.0 * _OCTAVE * from_peak**2)
    spectrum = np.fft.rfft(stretch, size) * np.float32(10.0) ** (gain_db / 20.0).astype(np.float32)
    return np.asarray(np.fft.irfft(spectrum, size)[: len(stretch)], dtype=np.float32)
