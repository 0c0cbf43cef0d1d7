"""The exported file: the network's numbers, its states, its facts; and a refusal when they differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.test_models import CONDITIONINGS, network
from timbre_restore.errors import ExportError
from timbre_restore.export import export_generator
from timbre_restore.export import onnx_file as room
from timbre_restore.runtime import Restorer


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_onnx_runtime_gives_the_networks_numbers(conditioning: str, tmp_path: Path) -> None:
    net = network(conditioning)
    report = export_generator(net, tmp_path / "m.onnx", metadata={"note": "made in a test"})
    assert max(report.error_whole, report.error_hops) < 1e-5
    restorer = Restorer.load(report.path)
    assert restorer.metadata["note"] == "made in a test"
    assert restorer.needs_noisy == net.uses_noisy
    assert (restorer.latency_samples, restorer.lookahead_samples) == (0, net.lookahead_samples)
    rng = np.random.default_rng(1)
    noisy = (0.1 * rng.standard_normal(480 * 1203 + 1440)).astype(np.float32)  # over several stretches
    degraded = 0.5 * noisy[: 480 * 1203]
    with torch.no_grad():
        given = torch.from_numpy(noisy)[None, None] if net.uses_noisy else None
        expected = net(torch.from_numpy(degraded)[None, None], given).numpy()[0, 0]
    assert np.abs(restorer(degraded, noisy, strength=1.0) - expected).max() < 1e-5


def test_every_state_is_an_input_and_an_output(tmp_path: Path) -> None:
    net = network()
    export_generator(net, tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    names = list(net.initial_state(torch.zeros(1, 1, 480)))
    assert [i.name for i in graph.input] == ["degraded", "noisy", *[f"state_{n}" for n in names]]
    assert [o.name for o in graph.output] == ["restored", *[f"next_{n}" for n in names]]


def test_a_mismatch_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another network's graph under this network's name must not pass."""
    other = room._to_onnx(network(seed=1), {})
    monkeypatch.setattr(room, "_to_onnx", lambda generator, metadata: other)
    with pytest.raises(ExportError, match="not written, because ONNX Runtime differs from the network"):
        export_generator(network(seed=0), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("errors", [(1e-6, float("nan")), (float("nan"), 1e-6), (2e-5, 0.0), (0.0, 2e-5)])
def test_both_proofs_must_hold(errors: tuple[float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "prove", lambda content, generator: errors)
    with pytest.raises(ExportError, match="not written"):
        export_generator(network(), tmp_path / "m.onnx")


def test_a_number_that_is_none_fails_the_proof(tmp_path: Path) -> None:
    net = network()
    net.heads[-1].bias[0] = float("nan")
    with pytest.raises(ExportError):
        export_generator(net, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
