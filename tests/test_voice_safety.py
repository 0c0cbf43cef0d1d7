"""What a packaged voice must not do, whatever it was trained on: invent, click, blow up, move a stereo image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.voices import RATE, noise, voice
from timbre_restore.apps.cli import main
from timbre_restore.audio import read_audio, rms, to_db, write_audio
from timbre_restore.runtime import Chain, Restorer, packaged_voices
from timbre_restore.suppressors import load_suppressor

FloatArray = NDArray[np.float32]
VOICES = sorted(packaged_voices())
SECONDS = 4.0


@pytest.fixture(scope="module", params=VOICES)
def chain(request: pytest.FixtureRequest) -> Chain:
    return Chain(load_suppressor(), Restorer.load(request.param))


def level(x: FloatArray) -> float:
    return to_db(rms(x))


def chord() -> FloatArray:
    """A held chord: music without a voice."""
    t = np.arange(round(SECONDS * RATE)) / RATE
    tones = [np.sin(2 * np.pi * f * k * t) / k for f in (220.0, 277.2, 329.6) for k in range(1, 6)]
    return (0.05 * sum(tones)).astype(np.float32)


def ticks() -> FloatArray:
    """A knock every quarter of a second."""
    x = np.zeros(round(SECONDS * RATE), dtype=np.float32)
    knock = np.exp(-np.arange(960) / 120.0) * np.random.default_rng(0).standard_normal(960)
    for at in range(6_000, len(x) - 960, RATE // 4):
        x[at : at + 960] += 0.3 * knock.astype(np.float32)
    return x


def rumble() -> FloatArray:
    """Noise that falls by 6 dB an octave."""
    x = np.cumsum(noise(SECONDS, 4, level=0.002), dtype=np.float64)
    return (x - np.convolve(x, np.full(4_800, 1 / 4_800), "same")).astype(np.float32)


SOUNDS = {
    "loud noise": noise(SECONDS, 1, level=0.1),
    "noise": noise(SECONDS, 2, level=0.01),
    "faint noise": noise(SECONDS, 3, level=0.001),
    "rumble": rumble(),
    "chord": chord(),
    "knocks": ticks(),
}


@pytest.mark.parametrize("sound", SOUNDS)
def test_without_a_voice_next_to_nothing_comes_back(chain: Chain, sound: str) -> None:
    """Of what holds no speech at most a quarter of the amplitude is left: the suppressor's work is not undone."""
    heard = SOUNDS[sound]
    assert level(chain(heard)) < level(heard) - 12.0


def test_silence_stays_silent(chain: Chain) -> None:
    quiet = chain(np.zeros(2 * RATE, dtype=np.float32))
    assert level(quiet) < -100.0
    heard = voice(2.0, seed=3)[: 3 * RATE // 2]
    after = chain(np.concatenate([heard, np.zeros(2 * RATE, dtype=np.float32)]))
    silent, late = np.split(after[len(heard) + RATE :], [-chain.delay_samples])
    assert level(silent) < -100.0
    # In silence the suppressor stands still, so the voice's last 30 ms, by which it is late, come at the very end.
    assert level(late) < level(heard[-chain.delay_samples :]) + 1.0


def test_a_strength_that_changes_makes_no_click(chain: Chain) -> None:
    """Sixteen changes from nothing to all: no corner in the wave is sharper than the sharper one of both has."""
    noisy = voice(SECONDS, seed=5) + noise(SECONDS, 5, level=0.01)
    stream, parts = chain.stream(), []
    for number, piece in enumerate(np.array_split(noisy, 16)):
        stream.strength = float(number % 2)
        parts.append(stream.push(piece.astype(np.float32)))
    parts.append(stream.flush())
    changing = np.concatenate(parts)[-len(noisy) :]  # a stream is as late as the suppressor
    still = [chain(noisy, strength=s) for s in (0.0, 1.0)]
    assert min(rms(changing - x) for x in still) > 0.1 * rms(still[1] - still[0]), "and it did change"
    assert np.abs(np.diff(changing, 2)).max() < 1.1 * max(np.abs(np.diff(x, 2)).max() for x in still)


def test_a_sudden_beginning_is_no_louder_than_it_was(chain: Chain) -> None:
    sudden = np.concatenate([np.zeros(RATE, dtype=np.float32), voice(1.0, seed=7)[RATE // 4 :]])
    onset = slice(RATE - 480, RATE + 960)
    assert np.abs(chain(sudden)[onset]).max() < 1.2 * np.abs(sudden[onset]).max()


@pytest.mark.parametrize("gain", [4.0, 40.0])
def test_what_clips_stays_finite_and_does_not_grow(chain: Chain, gain: float) -> None:
    clipped = np.clip(gain * voice(2.0, seed=9), -1.0, 1.0).astype(np.float32)
    restored = chain(clipped)
    assert np.isfinite(restored).all()
    assert rms(restored) < 1.1 * rms(clipped)
    assert np.abs(restored).max() < 2.0


@pytest.mark.parametrize("name", VOICES)
def test_a_stereo_image_comes_nearer_to_where_it_was(name: str, tmp_path: Path) -> None:
    """A voice 12 dB to the left, then hard left. The suppressor takes more from the quieter one, and moves it."""
    noisy = voice(2.0, seed=11) + noise(2.0, 11, level=0.01)

    def image(right: float, *extra: str) -> tuple[float, FloatArray]:
        write_audio(tmp_path / "in.wav", np.stack([noisy, right * noisy]).astype(np.float32), RATE)
        line = ["restore", str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav"), "--model", name]
        assert main([*line, "--subtype", "float", *extra]) == 0
        one, other = read_audio(tmp_path / "out.wav")[0]
        return to_db(rms(other) / rms(one)) if rms(other) else 0.0, other

    wanted = to_db(0.25)
    suppressed, _ = image(0.25, "--strength", "0")
    restored, _ = image(0.25)
    assert abs(suppressed - wanted) > 1.0
    assert abs(restored - wanted) < abs(suppressed - wanted) - 0.5
    assert np.abs(image(0.0)[1]).max() < 1e-4
