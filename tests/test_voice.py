"""The packaged voices: they open, they are listed honestly, and they give back more than they spoil."""

from __future__ import annotations

import csv
import re
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import ROOT
from tests.voices import noise, voice
from timbre_restore.apps.cli import main
from timbre_restore.apps.made_voice import Speaker, made_voice
from timbre_restore.audio import lag_samples, read_mono, rms, write_audio
from timbre_restore.config import load_config
from timbre_restore.metrics import item_gain, oversuppression_rate, residual_rate
from timbre_restore.runtime import Chain, Restorer, packaged_voices, packaged_weights
from timbre_restore.suppressors import load_suppressor

FloatArray = NDArray[np.float32]
GIVES_BACK = pytest.mark.parametrize(("name", "most"), [("small", 0.95), ("tiny", 0.97), ("base", 0.95)])
"""Over-suppression left, at most so much of the suppressor's."""


def rates(estimate: FloatArray, clean: FloatArray) -> tuple[float, float]:
    gain = np.float32(item_gain(clean))
    return oversuppression_rate(estimate * gain, clean * gain), residual_rate(estimate * gain, clean * gain)


def gives_back(clean: FloatArray, noisy: FloatArray, name: str, most: float) -> None:
    """Less is over-suppressed than by the suppressor, and the added residual is a small part of the noise's."""
    degraded = load_suppressor()(noisy)
    restored = Restorer.load(name)(degraded, noisy)
    (before, few), (after, more), (_, all_of_it) = (rates(x, clean) for x in (degraded, restored, noisy))
    assert after < most * before
    assert more < few + 0.25 * (all_of_it - few)
    assert lag_samples(restored, degraded) == 0


def test_the_package_holds_these() -> None:
    assert set(packaged_voices()) == {"small", "tiny", "base", "suppressed"}
    assert Restorer.load().metadata == Restorer.load("small").metadata == Restorer.load("default").metadata


@pytest.mark.parametrize(
    ("name", "needs_noisy", "strength"),
    [("small", True, 0.6), ("tiny", True, 0.5), ("base", True, 0.65), ("suppressed", False, 0.3)],
)
def test_it_opens_small_and_waits_for_one_hop_behind_a_black_box(name: str, needs_noisy: bool, strength: float) -> None:
    """Strengths as the model card has them: each was chosen for its voice."""
    restorer = Restorer.load(name)
    assert packaged_voices()[name].stat().st_size < 8_000_000
    lookahead = 1440 if needs_noisy else 0
    assert (restorer.latency_samples, restorer.lookahead_samples, restorer.needs_noisy) == (480, lookahead, needs_noisy)
    assert Chain(load_suppressor(), restorer).added_latency_samples == 0
    assert restorer.default_strength == strength
    assert "SOURCES.tsv" in restorer.metadata["about"]


def test_a_folder_of_a_voices_name_hides_no_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("base", "default"):
        (tmp_path / name).mkdir()
        assert Restorer.load(name).name


@pytest.mark.parametrize("name", ["small", "base"])
def test_a_voice_is_that_of_the_weights_beside_it(name: str, tmp_path: Path) -> None:
    """`train --init` begins where the packaged voice ends; loading them is strict, and sums are checked."""
    pytest.importorskip("torch")
    from timbre_restore.export import export_generator
    from timbre_restore.training import find_checkpoint, load_generator

    weights = packaged_weights().get(name, ROOT / "benchmarks" / "checkpoints" / name)
    if not weights.is_dir():
        pytest.skip(f"{weights} is not part of a source distribution")
    checkpoint = find_checkpoint(weights)
    export_generator(load_generator(checkpoint), tmp_path / "again.onnx", metadata={"suppressor": "dfn3"})
    noisy = voice(2.0, seed=8) + noise(2.0, seed=8, level=0.02)
    degraded = np.float32(0.3) * noisy
    again, packaged = (Restorer.load(place)(degraded, noisy, strength=1.0) for place in (tmp_path / "again.onnx", name))
    assert rms(packaged - degraded) > 1e-3
    assert float(np.abs(again - packaged).max()) < 1e-6
    assert {path.name for path in checkpoint.folder.iterdir()} == {
        "checkpoint.json", "generator.safetensors", "ema.safetensors", "discriminators.safetensors", "optimizers.pt"
    }  # fmt: skip
    text = (checkpoint.folder / "checkpoint.json").read_text(encoding="utf-8")
    assert not re.search(r'"/\w', text), "no folder of the machine that trained it"


def test_what_was_suppressed_before_gets_the_voice_that_is_meant_for_it(tmp_path: Path) -> None:
    clean = voice(3.0, seed=4)
    degraded = load_suppressor()(clean + noise(3.0, seed=4, level=0.02))
    write_audio(tmp_path / "in.wav", degraded, 48_000, subtype="FLOAT")
    assert main(["restore", str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav"), "--already-suppressed"]) == 0
    expected = Restorer.load("suppressed")(degraded)
    assert rms(expected - degraded) > 1e-4
    assert float(np.abs(read_mono(tmp_path / "out.wav") - expected).max()) < 1e-5


def test_what_it_learned_from_and_is_judged_by_is_listed_and_nothing_is_both() -> None:
    with (packaged_voices()["small"].parent / "SOURCES.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert all(row[cell].strip() for row in rows for cell in ("licence", "source", "path", "author"))
    data = load_config(ROOT / "configs" / "voice.yaml").data
    held_out = {"speech": data.val_speakers, "noise": data.val_noises, "rir": data.val_rooms}
    for kind, patterns in held_out.items():
        sides: dict[str, list[str]] = {"trained": [], "held out": []}
        for row in rows:
            if row["kind"] == kind:
                sides[row["side"]].append(row["name"])
        assert len(sides["trained"]) > 20
        assert not [name for name in sides["trained"] if any(fnmatch(name, pattern) for pattern in patterns)]
        assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in sides["held out"])
        assert all(any(fnmatch(name, pattern) for name in sides["held out"]) for pattern in patterns)


@GIVES_BACK
def test_it_gives_a_made_voice_back(name: str, most: float) -> None:
    clean = made_voice(Speaker(140.0, 1.0, 4.5), 4.0, seed=3)
    gives_back(clean, clean + noise(4.0, seed=3, level=0.02), name, most)


@GIVES_BACK
def test_it_gives_a_held_out_voice_back(shared_data: Path, name: str, most: float) -> None:
    clean = read_mono(sorted((shared_data / "speech" / "tuxpaint_bg").glob("*.flac"))[0])
    market = np.resize(read_mono(shared_data / "noise" / "uh_main_square.flac"), len(clean))
    gives_back(clean, clean + market * np.float32(rms(clean) / rms(market) * 10 ** (-10 / 20)), name, most)


def test_a_clean_voice_comes_closer_to_itself() -> None:
    """What the suppressor leaves of a clean voice comes closer to it, not further away."""
    clean = voice(4.0, seed=5)
    degraded = load_suppressor()(clean)
    restored = Restorer.load()(degraded, clean)
    assert rms(restored - clean) < rms(degraded - clean)


@pytest.mark.parametrize("rate", [48_000, 44_100])
def test_restoring_needs_no_option(tmp_path: Path, rate: int) -> None:
    write_audio(tmp_path / "in.wav", voice(1.0)[:rate], rate)
    assert main(["restore", str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav")]) == 0
    assert (tmp_path / "out.wav").stat().st_size == (tmp_path / "in.wav").stat().st_size
