"""Sounds for the demonstration: speech, noises and rooms that need no download, and pairs to evaluate on.

The material of the pairs (a speaker, two noises) belongs to the validation side, so none of it is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.apps.demo_speech import SENTENCES, SPEAKERS, speak
from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, from_db, rms, write_audio
from timbre_restore.corpus.rendering.made_noise import clicks, coloured, hum, wandering

COUNT = 10 * SAMPLE_RATE_HZ  # samples of each noise
NOISE_RMS = 0.1
SENTENCES_PER_SPEAKER = 6
REVERBERATION_S = {"booth": 0.15, "office": 0.3, "kitchen": 0.4, "classroom": 0.55, "hall": 0.8}
"""Room → reverberation time (the time to decay by 60 dB), in seconds."""

HELD_OUT = {"val_speakers": ["held_out"], "val_noises": ["rain", "crowd"], "val_rooms": ["kitchen"]}
PAIRS = (("rain", 5.0), ("crowd", 10.0), ("rain", 15.0), ("crowd", 5.0))
"""Noise and SNR in dB of each pair to evaluate on."""


def make_sounds(folder: Path) -> None:
    """Write `speech/<speaker>/`, `noise/`, `rooms/` and `pairs/{noisy,clean}/` to `folder`; the same on every run."""
    said: list[FloatArray] = []
    for number, speaker in enumerate(SPEAKERS):
        for sentence in range(SENTENCES_PER_SPEAKER):
            # Each speaker starts at a different place in the list, so that no sentence is common to all.
            which = (number * 2 + sentence) % len(SENTENCES)
            said.append(speak(speaker, which))
            _write(folder / "speech" / speaker.name / f"sentence_{which:02d}.flac", said[-1])
    made = noises(said[:-SENTENCES_PER_SPEAKER])
    for name, samples in made.items():
        _write(folder / "noise" / f"{name}.flac", samples)
    for seed, (name, seconds) in enumerate(REVERBERATION_S.items()):
        _write(folder / "rooms" / f"{name}.flac", room(seconds, seed))
    _make_pairs(folder / "pairs", made)


def noises(voices: Sequence[FloatArray]) -> dict[str, FloatArray]:
    """Name → `[T]` at RMS 0.1: steady, modulated and sparse noises, and babble of `voices` played backwards."""
    makers: dict[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {
        "wind": lambda rng: coloured(rng, COUNT, -1.0) * wandering(rng, COUNT, 0.5),
        "fan": lambda rng: coloured(rng, COUNT, -0.5) + hum(rng, COUNT, 110.0, 0.0),
        "hiss": lambda rng: coloured(rng, COUNT, 0.3),
        "road": lambda rng: coloured(rng, COUNT, -1.3) + 0.2 * coloured(rng, COUNT, 0.0) * wandering(rng, COUNT, 0.2),
        "keys": lambda rng: clicks(rng, COUNT, 6.0, 0.005) + 0.05 * coloured(rng, COUNT, -0.5),
        "canteen": lambda rng: _babble(rng, voices, 5) + 0.1 * coloured(rng, COUNT, -0.5),
        "rain": lambda rng: coloured(rng, COUNT, -0.1) + 0.5 * clicks(rng, COUNT, 60.0, 0.005),
        "crowd": lambda rng: _babble(rng, voices, 8) + 0.3 * coloured(rng, COUNT, -0.7),
    }
    made = {name: make(np.random.default_rng([seed, 21])) for seed, (name, make) in enumerate(makers.items())}
    return {name: np.asarray(x / np.sqrt(np.mean(x**2)) * NOISE_RMS, dtype=np.float32) for name, x in made.items()}


def room(reverberation_s: float, seed: int) -> FloatArray:
    """A room response `[T]`: direct sound, then noise that decays by 60 dB in `reverberation_s`, faster when high."""
    rng = np.random.default_rng([seed, 22])
    count = int(1.2 * reverberation_s * SAMPLE_RATE_HZ)
    t = np.arange(count) / SAMPLE_RATE_HZ
    bright = rng.standard_normal(count)
    kilohertz = np.fft.rfftfreq(count, 1000.0 / SAMPLE_RATE_HZ)
    dull = np.fft.irfft(np.fft.rfft(bright) / (1.0 + 1j * kilohertz), count)  # first-order low-pass at 1 kHz
    blend = np.clip(t / reverberation_s, 0.0, 1.0)
    response = 0.1 * ((1.0 - blend) * bright + blend * dull) * 10.0 ** (-3.0 * t / reverberation_s)
    response[: int(0.002 * SAMPLE_RATE_HZ)] = 0.0  # nothing arrives before the first wall
    response[0] = 1.0
    return np.asarray(0.9 * response / np.max(np.abs(response)), dtype=np.float32)


def _make_pairs(folder: Path, sounds: Mapping[str, FloatArray]) -> None:
    speaker = SPEAKERS[-1]
    for number, (noise, snr_db) in enumerate(PAIRS):
        clean = 0.6 * speak(speaker, len(SENTENCES) - 1 - number)
        start = number * SAMPLE_RATE_HZ
        under = sounds[noise][start : start + len(clean)]
        noisy = clean + np.pad(under, (0, len(clean) - len(under)), mode="wrap") * _gain(clean, under, snr_db)
        # One gain for both, so that they differ only by the noise.
        gain = np.float32(min(1.0, 0.99 / float(np.max(np.abs(noisy)))))
        name = f"{number + 1}_{noise}_{snr_db:.0f}_dB.wav"
        _write(folder / "noisy" / name, noisy * gain)
        _write(folder / "clean" / name, clean * gain)


def _gain(clean: FloatArray, noise: FloatArray, snr_db: float) -> np.float32:
    return np.float32(rms(clean) / rms(noise) / from_db(snr_db))


def _write(path: Path, samples: FloatArray) -> None:
    write_audio(path, samples.astype(np.float32), SAMPLE_RATE_HZ)


def _babble(rng: np.random.Generator, voices: Sequence[FloatArray], count: int) -> NDArray[np.float64]:
    """`count` of the voices at once, backwards, each looped from a random starting point."""
    total = np.zeros(COUNT)
    for which in rng.choice(len(voices), count, replace=len(voices) < count):
        voice = np.roll(voices[which][::-1], rng.integers(len(voices[which])))
        total += rng.uniform(0.4, 1.0) * np.resize(voice, len(total))
    return np.asarray(total / np.sqrt(np.mean(total**2)))
