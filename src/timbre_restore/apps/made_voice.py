"""A synthetic voice: for the demonstration when no offline voice is installed, and for the benchmark.

Source and filter, as in Klatt (1980) but additive: harmonics of a gliding pitch, weighted by three moving formants,
cut into syllables; bursts of high-frequency noise between them stand for fricatives. It is not a language, but the
suppressor takes it for speech, which is what matters here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray

HARMONIC_CEILING_HZ = 14_000.0
VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
"""First three formants of five vowels; Peterson & Barney (1952), male means."""
BANDWIDTHS_HZ = (90.0, 130.0, 200.0)
CONTROL_SAMPLES = 240
"""Formants move slowly: their gains are computed once per this many samples and interpolated."""


@dataclass(frozen=True)
class Speaker:
    """What makes two made voices differ."""

    pitch_hz: float
    formant_scale: float
    """1.0 for a vocal tract of the size the vowels were measured on; more for a shorter one."""
    syllables_per_s: float


def made_voice(speaker: Speaker, seconds: float, seed: int) -> FloatArray:
    """`[T]` at 48 kHz, RMS 0.1: syllables of random vowels and fricatives, a pure function of the arguments."""
    rng = np.random.default_rng([seed, 3])
    count = int(seconds * SAMPLE_RATE_HZ)
    voiced, hiss, formants_hz = _score(speaker, count, rng)
    t = np.arange(count) / SAMPLE_RATE_HZ
    glide = 1 + 0.12 * np.sin(2 * np.pi * 0.6 * t + rng.uniform(0, 6)) + 0.02 * np.sin(2 * np.pi * 5.1 * t)
    pitch_hz = speaker.pitch_hz * glide
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    tone = np.zeros(count)
    for harmonic in range(1, int(HARMONIC_CEILING_HZ / speaker.pitch_hz)):
        gain = np.interp(t, t[::CONTROL_SAMPLES], _gain(harmonic * pitch_hz[::CONTROL_SAMPLES], formants_hz))
        tone += gain * harmonic**-0.4 * np.sin(harmonic * phase + rng.uniform(0, 2 * np.pi))
    # Differentiated white noise rises by 6 dB per octave, so its energy lies where that of sibilants does.
    breath = np.diff(rng.standard_normal(count + 1))
    out = tone * voiced + 0.5 * breath * hiss + 0.02 * breath * voiced
    return np.asarray(out / np.sqrt(np.mean(out**2)) * 0.1, dtype=np.float32)


def _gain(frequency_hz: NDArray[np.float64], formants_hz: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The gain of three resonances, each with peak 1, at a changing frequency; all at the control rate."""
    gain = np.full(len(frequency_hz), 0.01)
    for centre, width in zip(formants_hz, BANDWIDTHS_HZ, strict=True):
        gain += width**2 / ((frequency_hz - centre) ** 2 + width**2)
    return gain


def _score(
    speaker: Speaker, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[NDArray[np.float64]]]:
    """Envelopes of voicing and of hiss, each `[T]`, and the three formants in hertz at the control rate."""
    voiced, hiss = np.zeros(count), np.zeros(count)
    marks, vowels = [0], [VOWELS_HZ[0]]
    at = int(0.1 * SAMPLE_RATE_HZ)
    while at < count:
        length = int(SAMPLE_RATE_HZ / speaker.syllables_per_s * rng.uniform(0.7, 1.4))
        consonant = int(length * rng.uniform(0.2, 0.4)) if rng.random() < 0.6 else 0
        _arch(hiss, at, consonant)
        _arch(voiced, at + consonant, length - consonant)
        marks.append(at + length // 2)
        vowels.append(VOWELS_HZ[rng.integers(len(VOWELS_HZ))])
        at += length + (int(0.3 * SAMPLE_RATE_HZ) if rng.random() < 0.15 else 0)
    moments = np.arange(0, count, CONTROL_SAMPLES)
    formants = [
        speaker.formant_scale * np.interp(moments, marks, [float(vowel[n]) for vowel in vowels]) for n in range(3)
    ]
    return voiced, hiss, formants


def _arch(envelope: NDArray[np.float64], start: int, length: int) -> None:
    """Write one smooth rise and fall of `length` samples."""
    room = min(length, len(envelope) - start)
    if room > 0:
        envelope[start : start + room] = np.sin(np.pi * (np.arange(room) + 0.5) / length) ** 0.7
