"""The exported file: the network's numbers, its states, its facts; and a refusal when they differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.test_models import KINDS, network
from tests.voices import noise, voice
from timbre_restore.apps.cli import main
from timbre_restore.audio import write_audio
from timbre_restore.errors import ExportError
from timbre_restore.export import export_generator
from timbre_restore.export import onnx_file as room
from timbre_restore.runtime import Restorer, packaged_weights


@pytest.mark.parametrize(("name", "conditioning"), KINDS)
def test_onnx_runtime_gives_the_networks_numbers(name: str, conditioning: str, tmp_path: Path) -> None:
    net = network(name, conditioning)
    noisy = voice(3.0) + noise(3.0)
    report = export_generator(
        net, tmp_path / "m.onnx", metadata={"note": "made in a test"}, sound=(np.float32(0.5) * noisy, noisy)
    )
    assert max(report.error_whole, report.error_hops) < 1e-5
    assert report.hops == 300
    restorer = Restorer.load(report.path)
    assert restorer.metadata["note"] == "made in a test"
    assert restorer.needs_noisy == ("noisy" in conditioning)
    assert restorer.latency_samples == (480 if name == "spectral" else 0)
    assert restorer.lookahead_samples == (1440 if restorer.needs_noisy else 0)


@pytest.mark.parametrize("samples", [0, 100, 48_000])
def test_a_proof_on_nothing_is_refused(samples: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_audio(tmp_path / "proof.wav", np.zeros(samples, np.float32), 48_000)
    words = [str(packaged_weights()["small"]), "--which", "last", "-o", str(tmp_path / "m.onnx")]
    assert main(["export", *words, "--proof", str(tmp_path / "proof.wav")]) == 2
    assert "proof.wav: is shorter than 0.1 s, or silent in its first 30 s" in capsys.readouterr().err
    assert not (tmp_path / "m.onnx").exists()


def test_the_strength_that_was_asked_for_is_the_files_own(tmp_path: Path) -> None:
    words = [str(packaged_weights()["small"]), "--which", "last", "-o", str(tmp_path / "m.onnx")]
    assert main(["export", *words, "--default-strength", "0.55"]) == 0
    assert Restorer.load(tmp_path / "m.onnx").default_strength == 0.55


def test_a_long_proof_is_made_on_its_beginning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of an hour at once would take tens of GB."""
    write_audio(tmp_path / "proof.wav", np.tile(voice(4.0), 9), 48_000)
    words = [str(packaged_weights()["small"]), "--which", "last", "-o", str(tmp_path / "m.onnx")]
    assert main(["export", *words, "--proof", str(tmp_path / "proof.wav")]) == 0
    assert "over 3000 hops" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("drawn", "named"), [(None, "dfn3"), (["rnnoise"], "rnnoise"), (["rnnoise", "dfn3", "dfn3"], "rnnoise, dfn3")]
)
def test_the_suppressors_are_those_of_the_corpus(drawn: list[str] | None, named: str, tmp_path: Path) -> None:
    run = shutil.copytree(packaged_weights()["small"], tmp_path / "run")
    content = json.loads((run / "checkpoint.json").read_text())
    content["settings"]["data"]["suppressors"] = drawn and [{"name": name, "weight": 1.0} for name in drawn]
    (run / "checkpoint.json").write_text(json.dumps(content))
    assert main(["export", str(run), "-o", str(tmp_path / "m.onnx")]) == 0
    restorer = Restorer.load(tmp_path / "m.onnx")
    assert restorer.metadata["suppressor"] == named
    assert (restorer.suits("dfn3"), restorer.suits("rnnoise")) == ("dfn3" in named, "rnnoise" in named)


@pytest.mark.parametrize(("name", "outputs"), [("unet", ["restored", "gate"]), ("spectral", ["residual", "gate"])])
def test_every_state_is_an_input_and_an_output(name: str, outputs: list[str], tmp_path: Path) -> None:
    net = network(name)
    export_generator(net, tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    states = list(net.initial_state(torch.zeros(1, 1, 480)))
    assert [i.name for i in graph.input] == ["degraded", "noisy", *[f"state_{n}" for n in states]]
    assert [o.name for o in graph.output] == [*outputs, *[f"next_{n}" for n in states]]


def test_the_checksum_is_of_the_weights(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.onnx" for name in "abc"]
    for path, seed, facts in zip(paths, (0, 0, 1), ({}, {"note": "another"}, {}), strict=True):
        export_generator(network(seed=seed), path, metadata=facts)
    one, same, other = (Restorer.load(path).metadata["weights_sha256"] for path in paths)
    assert one == same != other


def test_a_mismatch_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another network's graph under this network's name must not pass."""
    other = room._to_onnx(network(seed=1), {})
    monkeypatch.setattr(room, "_to_onnx", lambda generator, metadata: other)
    with pytest.raises(ExportError, match="not written, because ONNX Runtime differs from the network"):
        export_generator(network(seed=0), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("errors", [(1e-6, float("nan")), (float("nan"), 1e-6), (2e-5, 0.0), (0.0, 2e-5)])
def test_both_proofs_must_hold(errors: tuple[float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "prove", lambda *arguments: errors)
    with pytest.raises(ExportError, match="not written"):
        export_generator(network(), tmp_path / "m.onnx")


def test_a_number_that_is_none_fails_the_proof(tmp_path: Path) -> None:
    net = network()
    net.heads.bias[0] = float("nan")
    with pytest.raises(ExportError):
        export_generator(net, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which nobody can make a file")
def test_a_place_that_can_not_be_written_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, said in (
        ("/proc/voice.onnx", "error: --output /proc/voice.onnx: its folder can't be written to ("),
        (str(tmp_path / "voice.txt"), "voice.txt: expected a name ending in .onnx"),
    ):
        assert main(["export", str(tmp_path / "no run"), "-o", place]) == 2
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
