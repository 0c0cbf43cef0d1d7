"""The checks of an exported file: a good one passes, and each planted bug is named by the check that is for it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest

from timbre_restore.apps.cli import main
from timbre_restore.audio import FloatArray, write_audio
from timbre_restore.errors import ModelError
from timbre_restore.runtime import Chain, Restorer, core
from timbre_restore.runtime.checks import Extent, Row, check_model, sentence_of
from timbre_restore.runtime.checks.cost import check_cost
from timbre_restore.runtime.checks.endurance import _Heard, _rows
from timbre_restore.runtime.checks.sounds import voiced
from timbre_restore.runtime.model import METADATA_PREFIX, Model
from timbre_restore.suppressors import SuppressorSettings, load_suppressor

Arrays = dict[str, Any]
Alter = Callable[[Arrays, Arrays, Arrays, Arrays], None]
NOT_OF_THE_MACHINE = {
    "stability_slowing", "stability_cost", "stability_memory", "cost_p50", "cost_p99", "cost_fading", "memory",
}  # fmt: skip
"""Held loosely on a busy machine, or by a process of many tests; all have tests of their own below."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch", reason="a model is made with torch")
    from timbre_restore.export import export_generator
    from timbre_restore.models.generator import GeneratorSettings, make_generator

    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = make_generator(GeneratorSettings("spectral", "tiny", "degraded+noisy")).eval()
    generator.requires_grad_(False)
    return export_generator(generator, tmp_path_factory.mktemp("check") / "tiny.onnx").path


@pytest.fixture(scope="module")
def suppressor() -> Any:
    return load_suppressor(SuppressorSettings())


def failed(rows: list[Row]) -> set[str]:
    return {row.name for row in rows if not row.passed} - NOT_OF_THE_MACHINE


class Altered(Model):
    """A model whose every call is spoiled by `alter(chunk, state, outputs, after)`."""

    def __init__(self, model: Model, alter: Alter) -> None:
        super().__init__(model.session, model.name)
        self._alter = alter

    def run(self, chunk: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        outputs, after = super().run(chunk, state)
        outputs = {name: value.copy() for name, value in outputs.items()}
        self._alter(chunk, state, outputs, after)
        return outputs, after


def check_altered(path: Path, suppressor: Any, alter: Alter) -> list[Row]:
    return check_model(path, Chain(suppressor, Restorer(Altered(Model.open(path, 1), alter))), Extent.quick())


def test_a_good_file_passes(path: Path, suppressor: Any) -> None:
    rows = check_model(path, Chain(suppressor, Restorer.load(path)), Extent.quick())
    assert failed(rows) == set()
    assert len({row.name for row in rows}) == len(rows)


def peek(chunk: Arrays, state: Arrays, outputs: Arrays, after: Arrays) -> None:
    """The residual of the next frame, where the chunk holds one."""
    outputs["residual"][:, :, :-1] = outputs["residual"][:, :, 1:]


def grow(chunk: Arrays, state: Arrays, outputs: Arrays, after: Arrays) -> None:
    """A recurrence that feeds on itself, at first too little for anybody to hear."""
    before = state["state_over_all"][0, 0, 0]
    grown = before * np.float32(1.01) ** chunk["degraded"].shape[2] if before else np.float32(1e-8)
    after["state_over_all"][0, 0, 0] = grown
    outputs["residual"][:, 0, :, 100] += grown


def spoil_after_silence(chunk: Arrays, state: Arrays, outputs: Arrays, after: Arrays) -> None:
    if chunk["degraded"].shape[2] > 5 and not chunk["degraded"].any():
        outputs["residual"][...] = np.nan


def hum_in_denormals(chunk: Arrays, state: Arrays, outputs: Arrays, after: Arrays) -> None:
    if 0 < np.abs(chunk["degraded"]).max() < 1e-30:
        outputs["residual"][:, 0, :, 100] += np.float32(0.01)


class Counting:
    """Another number in each call."""

    calls = 0

    def __call__(self, chunk: Arrays, state: Arrays, outputs: Arrays, after: Arrays) -> None:
        self.calls += 1
        outputs["residual"] *= np.float32(1 + 1e-6 * (self.calls % 3))


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        (peek, {"chain_causality", "causality", "chain_stream", "stream"}),
        (spoil_after_silence, {"stability_finite"}),
        (Counting(), {"determinism"}),
    ],
)
def test_a_spoiled_graph_is_named(path: Path, suppressor: Any, alter: Alter, expected: set[str]) -> None:
    assert failed(check_altered(path, suppressor, alter)) == expected


def test_denormals_that_reach_a_graph_are_named(path: Path, suppressor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime takes them for silence; if it did not, a graph that makes something of them is found."""
    assert failed(check_altered(path, suppressor, hum_in_denormals)) == set()
    monkeypatch.setattr(core, "normal", np.ascontiguousarray)
    assert failed(check_altered(path, suppressor, hum_in_denormals)) == {"stability_bound"}


def test_a_growing_state_is_named(path: Path, suppressor: Any) -> None:
    assert (
        {"stability_growth"} <= failed(check_altered(path, suppressor, grow)) <= {"stability_growth", "stability_bound"}
    )


class LateStream:
    """A stream that keeps a hop back."""

    def __init__(self, stream: Any, pad: int) -> None:
        self._stream, self._held, self._pad = stream, np.zeros(0, np.float32), pad

    def push(self, noisy: Any) -> Any:
        out = np.concatenate([self._held, self._stream.push(noisy)])
        if self._pad:  # as many samples, but each of them late
            first = self._held if len(self._held) else np.zeros(480, np.float32)
            out = np.concatenate([first, out[len(self._held) :]])
        ready = max(len(out) - 480, 0)
        self._held = out[ready:]
        return out[:ready]

    def flush(self) -> Any:
        return np.concatenate([self._held, self._stream.flush()])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class LateChain(Chain):
    def __init__(self, *parts: Any, pad: int) -> None:
        super().__init__(*parts)
        self._pad = pad

    def __call__(self, noisy: Any, *, strength: float | None = None) -> Any:
        stream = super().stream(strength)
        assert self._hop_wise is not None
        return stream.push(self._hop_wise.padded(noisy))[self.delay_samples : self.delay_samples + len(noisy)]

    def stream(self, strength: float | None = None) -> Any:
        return LateStream(super().stream(strength), self._pad)


def test_samples_that_come_late_are_named(path: Path, suppressor: Any) -> None:
    rows = check_model(path, LateChain(suppressor, Restorer.load(path), pad=0), Extent.quick())
    assert "chain_latency" in failed(rows)
    assert not failed(rows) & {"chain_lag", "chain_causality", "latency", "lag", "causality", "stream"}


def test_a_shifted_output_is_named(path: Path, suppressor: Any) -> None:
    """As many samples as the suppressor, but each of them a hop late."""
    rows = check_model(path, LateChain(suppressor, Restorer.load(path), pad=1), Extent.quick())
    assert {"chain_lag", "chain_strength_0", "chain_stream"} <= failed(rows)
    assert not failed(rows) & {"chain_latency", "chain_causality", "lag", "stream"}


def test_an_understated_latency_is_named(path: Path, suppressor: Any) -> None:
    restorer = Restorer.load(path)
    restorer.latency_samples, restorer.lookahead_samples = 0, 960
    rows = check_model(path, Chain(suppressor, restorer), Extent.quick())
    assert {"latency", "causality"} <= failed(rows)


def with_facts(path: Path, target: Path, **facts: str) -> Path:
    model = onnx.load(path)
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, known | {METADATA_PREFIX + key: value for key, value in facts.items()})
    onnx.save(model, target)
    return target


def test_behind_a_suppressor_that_can_not_be_streamed_all_else_is_checked(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other, report = with_facts(path, tmp_path / "other.onnx", suppressor="spectral_gate"), tmp_path / "report.json"
    assert main(["check", str(other), "--quick"]) == 1
    assert "was trained for the suppressor 'spectral_gate', not 'dfn3'" in capfd.readouterr().err
    main(["check", str(other), "--quick", "--set", "suppressor.name=spectral_gate", "--json", str(report)])
    assert "can't be streamed here, so what a chain promises is not checked" in capfd.readouterr().err
    names = [row["name"] for row in json.loads(report.read_text())["checks"]]
    assert {"metadata", "latency", "causality", "determinism", "strength_click", "stability_bound"} <= set(names)
    assert not [name for name in names if name.startswith("chain")]


def test_other_weights_than_stated_are_named(path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wrong = with_facts(path, tmp_path / "wrong.onnx", weights_sha256="0" * 64)
    report = tmp_path / "report.json"
    assert main(["check", str(wrong), "--quick", "--json", str(report)]) == 1
    said = capfd.readouterr().err
    assert "weights_sha256 is 1, at most 0 allowed" in said
    assert "Traceback" not in said
    content = json.loads(report.read_text())
    assert content["passed"] is False
    assert "weights_sha256" in [row["name"] for row in content["checks"] if not row["passed"]]


def test_a_missing_fact_is_named(path: Path, suppressor: Any, tmp_path: Path) -> None:
    bare = with_facts(path, tmp_path / "bare.onnx", size="")
    (row,) = [
        row
        for row in check_model(bare, Chain(suppressor, Restorer.load(bare)), Extent.quick())
        if row.name == "metadata"
    ]
    assert not row.passed
    assert "size" in row.about


def test_a_figure_that_is_no_number_fails() -> None:
    row = Row("a", float("nan"), 1.0, "ms", "")
    assert not row.passed
    assert row.as_dict()["figure"] is None
    assert (
        sentence_of([row, Row("b", 1.0, 1.0, "", "")], "m") == "m: fails 1 of 2 checks: a is nan ms, at most 1 allowed."
    )


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"hop_samples": "256"}, "says hop_samples is '256'"),
        ({"latency_samples": "soon"}, "says latency_samples is 'soon', but this version runs 480"),
        ({"latency_samples": "0"}, "says latency_samples is '0', but this version runs 480"),
        ({"latency_samples": "9" * 5000}, "says latency_samples is '9{40}', but this"),
        ({"lookahead_samples": "4800"}, "says lookahead_samples is '4800', but this version runs 1440"),
        ({"lookahead_samples": "0"}, "says lookahead_samples is '0', but this version runs 1440"),
        ({"conditioning": "nonoisy hints"}, "says conditioning is 'nonoisy hints'"),
        ({"domain": "cepstrum"}, "runs waveform or spectrum"),
        ({"domain": "waveform", "latency_samples": "0"}, "inputs, outputs and states"),
        ({"conditioning": "degraded", "lookahead_samples": "0"}, "see noisy"),
        ({"strength": "much"}, "says strength is 'much'"),
        ({"format": "1"}, "has format 1"),
    ],
)
def test_facts_that_can_not_be_run_are_a_sentence(
    path: Path, tmp_path: Path, facts: dict[str, str], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        Restorer.load(with_facts(path, tmp_path / "m.onnx", **facts))


def another_state(kind: int, shape: list[int] | None) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.input.append(onnx.helper.make_tensor_value_info("state_x", kind, shape))
        model.graph.output.append(onnx.helper.make_tensor_value_info("next_x", kind, shape))
        model.graph.node.append(onnx.helper.make_node("Identity", ["state_x"], ["next_x"]))

    return edit


def renamed_output(model: onnx.ModelProto, name: str) -> None:
    """What gave `name` gives it under another name, for a node behind it."""
    for node in model.graph.node:
        node.output[:] = ["before" if given == name else given for given in node.output]


def half_a_residual(model: onnx.ModelProto) -> None:
    renamed_output(model, "residual")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "first"))
    model.graph.node.append(onnx.helper.make_node("Gather", ["before", "first"], ["residual"], axis=1))


def infinite_residual(model: onnx.ModelProto) -> None:
    """What is 0 stays 0, and what is not becomes infinite: healthy on silence, spoiled by sound."""
    renamed_output(model, "residual")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(3e38, np.float32), "huge"))
    for last, (given, made) in enumerate((("before", "more"), ("more", "much"), ("much", "residual"))):
        model.graph.node.append(onnx.helper.make_node("Mul", [given, "huge"], [made], name=f"grow_{last}"))


def no_text(model: onnx.ModelProto) -> None:
    onnx.helper.set_model_props(
        model, {entry.key: entry.value for entry in model.metadata_props} | {"timbre_restore.about": "xyzzy"}
    )


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (another_state(onnx.TensorProto.INT64, [1, 2]), "can open and run"),
        (another_state(onnx.TensorProto.FLOAT, [1 << 30, 1 << 20]), "states of more than 64 MB"),
        (another_state(onnx.TensorProto.FLOAT, None), "see state_x"),
        (half_a_residual, "see residual"),
        (no_text, "can open and run"),
    ],
)
def test_a_graph_that_can_not_be_run_is_a_sentence(
    path: Path, tmp_path: Path, edit: Callable[[onnx.ModelProto], None], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model, target = onnx.load(path), tmp_path / "m.onnx"
    edit(model)
    target.write_bytes(model.SerializeToString().replace(b"xyzzy", b"xyz\xffy"))
    assert main(["check", str(target), "--quick"]) == 1
    said = capfd.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""  # where sound may go


def test_a_model_that_gives_no_sound_leaves_no_file(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(path)
    infinite_residual(model)
    onnx.save(model, tmp_path / "m.onnx")
    recording = tmp_path / "in.wav"
    write_audio(recording, voiced(1.0), 48_000)
    assert main(["restore", str(recording), "-o", str(tmp_path / "o.wav"), "--model", str(tmp_path / "m.onnx")]) == 1
    assert "returned NaN or infinity instead of sound" in capfd.readouterr().err
    assert not (tmp_path / "o.wav").exists()


def test_files_that_are_no_model_are_one_sentence(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    opset, cut, text = (tmp_path / name for name in ("opset.onnx", "cut.onnx", "text.onnx"))
    model = onnx.load(path)
    model.opset_import[0].version = 999
    onnx.save(model, opset)
    cut.write_bytes(path.read_bytes()[:100_000])
    text.write_text("no model")
    for file in (opset, cut, text, tmp_path / "none.onnx", tmp_path):
        assert main(["check", str(file), "--quick"]) == 1
        said = capfd.readouterr().err.strip()
        assert said.startswith(f"error: {file}: ")
        assert said.count("\n") == 0


@dataclass
class Slow:
    """A restorer whose hops take so many milliseconds, in what is next to silent others."""

    usual_ms: float
    faint_ms: float
    lookahead_samples = 0
    needs_noisy = False

    def stream(self, _lookahead: int, _strength: float) -> Slow:
        return self

    def push(self, hop: FloatArray, _noisy: FloatArray | None) -> FloatArray:
        time.sleep((self.usual_ms if np.abs(hop).max() > 1e-6 else self.faint_ms) / 1000.0)
        return hop


@pytest.mark.parametrize(
    ("usual_ms", "faint_ms", "expected"),
    [(2.0, 2.0, set()), (14.0, 14.0, {"cost_p50", "cost_p99"}), (2.0, 14.0, {"cost_fading"})],
)
def test_what_takes_too_long_fails(usual_ms: float, faint_ms: float, expected: set[str]) -> None:
    """A hop lasts 10 ms; what fades to nothing must not cost more (denormals do, where nobody thought of them)."""
    rows = check_cost(cast(Restorer, Slow(usual_ms, faint_ms)), 0.4)
    assert {row.name for row in rows} == {"cost_p50", "cost_p99", "cost_fading", "memory"}
    slow = {row.name for row in rows if not row.passed} - {"memory"}
    assert slow - {"cost_p99"} == expected - {"cost_p99"} and slow >= expected, "one hop may be late on a busy machine"


def test_what_slows_down_or_grows_fails() -> None:
    def rows(grown_mb: float = 0.0, **seconds: list[float]) -> dict[str, bool]:
        heard = {"noise": [1.0] * 20, "silence": [1.0] * 20} | seconds
        found = _rows({name: _Heard(0, 0.5, [0.1] * 20, spent) for name, spent in heard.items()}, grown_mb)
        return {row.name: row.passed for row in found}

    even = rows()
    assert set(even) == {f"stability_{name}" for name in ("finite", "bound", "growth", "slowing", "cost", "memory")}
    assert all(even.values())
    assert [name for name, passed in rows(grown_mb=1e3).items() if not passed] == ["stability_memory"]
    assert [name for name, passed in rows(silence=[9.0] * 20).items() if not passed] == ["stability_cost"]
    slower = rows(noise=[1.0] * 18 + [9.0] * 2)
    assert [name for name, passed in slower.items() if not passed] == ["stability_slowing"]


def test_a_process_that_only_restores_holds_little() -> None:
    program = "import sys; from timbre_restore.apps.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", program, "check", "default", "--quick", "--json", "-"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    (held,) = [row for row in json.loads(done.stdout)["checks"] if row["name"] == "memory"]
    assert held["passed"] and 50.0 < held["figure"] < held["limit"], held
