"""The demonstration: its sounds are what they say, nothing that it scores on was trained on, and it walks the road."""

from __future__ import annotations

import importlib.util
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from timbre_restore.apps import cli, demo, demo_corpus, demo_speech
from timbre_restore.apps.cli import main
from timbre_restore.apps.demo_corpus import HELD_OUT, PAIRS, REVERBERATION_S, make_sounds, room
from timbre_restore.apps.made_voice import Speaker, made_voice
from timbre_restore.audio import SAMPLE_RATE_HZ, read_mono, rms, stft, to_db
from timbre_restore.suppressors import load_suppressor


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sounds with the made voice, one sentence each."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        make_sounds(folder)
    return folder


def shorten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(demo_speech, "has_offline_voice", lambda: False)
    patch.setattr(demo_speech, "MADE_SECONDS", 2.5)
    patch.setattr(demo_corpus, "SENTENCES_PER_SPEAKER", 2)
    patch.setattr(demo_corpus, "COUNT", 4 * 48_000)


def test_sounds_are_complete_and_named(sounds: Path) -> None:
    names = {path.parent.name for path in (sounds / "speech").rglob("*.flac")}
    assert names == {speaker.name for speaker in demo_speech.SPEAKERS}
    held = set(HELD_OUT["val_noises"])
    assert held < {path.stem for path in (sounds / "noise").iterdir()}
    assert set(HELD_OUT["val_rooms"]) < {path.stem for path in (sounds / "rooms").iterdir()}
    assert set(HELD_OUT["val_speakers"]) < names


def test_pairs_are_made_of_what_is_held_out(sounds: Path) -> None:
    assert {noise for noise, _ in PAIRS} <= set(HELD_OUT["val_noises"])
    assert demo_speech.SPEAKERS[-1].name in HELD_OUT["val_speakers"]
    said = {path.stem for path in (sounds / "speech" / "held_out").iterdir()}
    spoken = {f"sentence_{len(demo_speech.SENTENCES) - 1 - number:02d}" for number in range(len(PAIRS))}
    assert not said & spoken


def test_pairs_have_the_ratio_in_their_names(sounds: Path) -> None:
    for number, (noise, snr_db) in enumerate(PAIRS, start=1):
        name = f"{number}_{noise}_{snr_db:.0f}_dB.wav"
        noisy, clean = (read_mono(sounds / "pairs" / side / name) for side in ("noisy", "clean"))
        assert to_db(rms(clean)) - to_db(rms(noisy - clean)) == pytest.approx(snr_db, abs=0.3)
        assert np.max(np.abs(noisy)) <= 0.995


def test_sounds_are_equal_on_every_run(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    make_sounds(tmp_path)
    files = sorted(path.relative_to(sounds) for path in sounds.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((sounds / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)


@pytest.mark.parametrize("name", REVERBERATION_S)
def test_rooms_fall_by_sixty_decibels_in_their_time(name: str) -> None:
    seconds = REVERBERATION_S[name]
    response = room(seconds, 0).astype(np.float64)
    assert np.argmax(np.abs(response)) == 0
    energy = np.cumsum(response[::-1] ** 2)[::-1]  # Schroeder (1965)
    early, late = int(0.1 * seconds * SAMPLE_RATE_HZ), int(0.7 * seconds * SAMPLE_RATE_HZ)
    # The high sound falls faster and the low one takes over, so the slope is not exactly that of the noise.
    assert 10 * np.log10(energy[early] / energy[late]) == pytest.approx(36.0, abs=9.0)


def test_made_voice_is_speech_to_the_suppressor() -> None:
    suppressor = load_suppressor()
    voice = made_voice(Speaker(140.0, 1.0, 4.5), 4.0, seed=1)
    hiss = (0.1 * np.random.default_rng(0).standard_normal(len(voice))).astype(np.float32)
    assert to_db(rms(suppressor(voice))) - to_db(rms(voice)) > -6.0
    assert to_db(rms(suppressor(hiss))) - to_db(rms(hiss)) < -20.0


def test_made_voices_differ_as_told() -> None:
    low, high = (made_voice(Speaker(pitch, 1.0, 4.5), 3.0, seed=1) for pitch in (100.0, 230.0))
    assert np.array_equal(low, made_voice(Speaker(100.0, 1.0, 4.5), 3.0, seed=1))
    power_low, power_high = (np.mean(np.abs(stft(x, 8192, 4096)) ** 2, axis=1) for x in (low, high))
    below = int(180 / (SAMPLE_RATE_HZ / 8192))
    assert power_low[:below].sum() / power_low.sum() > 10 * power_high[:below].sum() / power_high.sum()


@pytest.mark.skipif(importlib.util.find_spec("pyopenjtalk") is None, reason="pyopenjtalk-plus is not installed")
@pytest.mark.filterwarnings("default")  # the voice's own dependencies may warn
def test_offline_voice_speaks_at_full_rate() -> None:
    low, high = (demo_speech.speak(demo_speech.SPEAKERS[which], 0) for which in (0, 2))
    assert low.dtype == np.float32
    assert 2.0 < len(high) / SAMPLE_RATE_HZ < len(low) / SAMPLE_RATE_HZ < 8.0
    spectrum = np.abs(stft(low, 2048, 1024)) ** 2
    # Sibilants reach beyond what a voice at 16 kHz could hold.
    assert spectrum[2048 * 10_000 // SAMPLE_RATE_HZ :].sum() / spectrum.sum() > 1e-4


def test_it_runs_the_verbs_in_order_with_one_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorten(monkeypatch)
    lines: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda line: lines.append(line) or 0)
    given = ["training.epochs=1", "training.output_dir=/elsewhere", "suppressor.post_filter_beta=0.01"]
    assert demo.demo(out=tmp_path / "out", overrides=given) == 0
    assert [line[0] for line in lines] == ["prepare", "train", "export", "evaluate", "restore"]
    for line in lines:
        assert line[line.index("--config") + 1] == str(tmp_path / "out" / "demo.yaml")
        told = [word for before, word in pairwise(line) if before == "--set"]
        assert told == (given[2:] if line[0] == "restore" else given)
    assert lines[2][1] == "/elsewhere"
    assert "not a model to ship" in capsys.readouterr().out


def test_it_stops_where_a_verb_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    lines: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda line: lines.append(line) or 3 * (line[0] == "train"))
    assert demo.demo(out=tmp_path / "out") == 3
    assert [line[0] for line in lines] == ["prepare", "train"]


def test_it_leaves_other_folders_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert "holds files that are not from a demonstration" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_missing_packages_are_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PACKAGES", ("no_such_package",))
    assert main(["demo", "--out", str(tmp_path / "out")]) == 1
    assert "pip install '.[train,eval,demo]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_whole_road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sounds, real suppressor, GAN, export, scores, page, restored file, in one command."""
    shorten(monkeypatch)
    out = tmp_path / "out"
    small = ("training.epochs=2", "training.gan_start_epoch=1", "training.threads=1", "training.validation_batches=1",
             "data.num_workers=0", "model.size=tiny")  # fmt: skip
    assert main(["demo", "--out", str(out), *(word for value in small for word in ("--set", value))]) == 0
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))["systems"]
    assert set(scores) == {"noisy", "degraded", "restored", "limit24"}
    assert len(scores["restored"]["items"]) == len(PAIRS)
    assert (out / "listen.html").stat().st_size > 100_000
    noisy = next(iter(sorted((out / "sounds" / "pairs" / "noisy").iterdir())))
    assert len(read_mono(out / "restored.wav")) == len(read_mono(noisy))
