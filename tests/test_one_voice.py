"""What `prepare` says of one person's recordings: noise in them, narrow ones, a single one, another person's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.voices import RATE, FloatArray, noise, voice
from timbre_restore.apps.cli import main
from timbre_restore.audio import from_db, read_mono, resample, rms, write_audio
from timbre_restore.corpus.one_voice import doubts_about, noise_under_voice_db
from timbre_restore.suppressors import SuppressorSettings, load_suppressor


def spoken(seconds: float, seed: int = 0) -> FloatArray:
    """Made voice with a pause in every second."""
    sound = voice(seconds, seed=seed)
    return sound * (np.arange(len(sound)) % RATE < 0.7 * RATE).astype(np.float32)


def folder_of(place: Path, sounds: dict[str, FloatArray]) -> list[tuple[str, Path]]:
    for name, sound in sounds.items():
        write_audio(place / name, sound, RATE)
    return [(name, place / name) for name in sounds]


def test_good_recordings_raise_no_doubt(tmp_path: Path) -> None:
    recordings = {f"{i}.wav": spoken(3, i) for i in range(3)} | {"silent.wav": np.zeros(RATE, np.float32)}
    known = folder_of(tmp_path, recordings)
    (tmp_path / "torn.wav").write_bytes(b"RIFF")
    assert [d for d in doubts_about([*known, ("torn.wav", tmp_path / "torn.wav")]) if "another person" not in d] == []


def test_noise_and_a_narrow_band_and_a_single_recording_are_named(tmp_path: Path) -> None:
    clean = spoken(3)
    hum = noise(3, level=0.02)
    narrow = resample(resample(spoken(3, 1), RATE, 16_000), 16_000, RATE)
    said = doubts_about(folder_of(tmp_path, {"good.wav": clean, "hiss.wav": clean + hum, "call.wav": narrow}))
    (noisy,) = (line for line in said if "noise" in line)
    (dull,) = (line for line in said if "nothing above 12 kHz" in line)
    assert noisy.startswith("1 of 3 recordings contains noise") and "hiss.wav (" in noisy and "good.wav" not in noisy
    assert dull.startswith("1 of 3 recordings contains nothing") and "call.wav (7.8 kHz)" in dull
    (alone,) = doubts_about(folder_of(tmp_path, {"good.wav": clean}))
    assert alone.startswith("good.wav is the only recording")


@pytest.mark.parametrize("under_db", [15.0, 25.0, 35.0])
def test_the_level_of_noise_is_what_was_added(under_db: float) -> None:
    clean = spoken(5)
    added = noise(5, level=1.0)
    added *= np.float32(from_db(-under_db) * rms(clean) / np.sqrt(0.7) / rms(added))
    sound = clean + added
    suppressed = load_suppressor(SuppressorSettings())(sound)
    assert noise_under_voice_db(sound, suppressed) == pytest.approx(-under_db, abs=4.0)
    assert noise_under_voice_db(clean, load_suppressor(SuppressorSettings())(clean)) < -60.0


def test_prepare_says_it_once_and_only_of_one_voice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recordings = folder_of(tmp_path / "own" / "me", {"a.wav": spoken(4) + noise(4, level=0.02), "b.wav": spoken(4, 1)})
    given = [
        "prepare", "--num-workers", "0", "--skip-existing", "--set", f"data.output_dir={tmp_path / 'out'}",
        "--set", f"data.sources=[{{path: {tmp_path / 'own'}}}]", "--set", "data.noise_path=null",
        "--set", "data.ir_path=null",
    ]  # fmt: skip
    assert main(given) == 0
    assert "warning: 1 of 2 recordings contains noise" in capsys.readouterr().out
    assert main(given) == 0
    assert "contains noise" not in capsys.readouterr().out, "nothing was made, so nothing was listened to"
    (tmp_path / "own" / "other").mkdir()
    recordings[0][1].rename(tmp_path / "own" / "other" / "a.wav")
    assert main([*given, "--force"]) == 0
    assert "contains noise" not in capsys.readouterr().out


@pytest.mark.shared
def test_another_person_among_real_recordings_is_named(shared_data: Path) -> None:
    pytest.importorskip("resemblyzer", reason="voices are compared by the package resemblyzer")
    own = sorted((shared_data / "speech" / "tuxpaint_be").glob("*.flac"))[:5]
    other = sorted((shared_data / "speech" / "fs_richard").glob("*.flac"))[0]
    (said,) = doubts_about([(path.name, path) for path in [*own, other]])
    assert said.startswith("1 of 6 recordings sounds like a different person from the rest: fs_richard")
    assert doubts_about([(path.name, path) for path in own]) == []


@pytest.mark.shared
def test_noise_added_to_a_real_recording_is_named(shared_data: Path, tmp_path: Path) -> None:
    own = sorted((shared_data / "speech" / "fs_richard").glob("*.flac"))[:2]
    added = read_mono(sorted((shared_data / "noise").glob("uh_*.flac"))[0])
    sound = read_mono(own[1])[: 8 * RATE]
    added = np.resize(added, len(sound)) * np.float32(from_db(-15.0) * rms(sound) / rms(added))
    write_audio(tmp_path / "b.wav", sound + added, RATE)
    (said,) = doubts_about([("a.flac", own[0]), ("b.wav", tmp_path / "b.wav")])
    assert said.startswith("1 of 2 recordings contains noise") and "b.wav" in said
