"""Exports one ONNX file with every state as a named input and output, and verifies that it reproduces the network.

Inputs and outputs have the generator's own names (`Generator.stream`) and accept any number of hops per call; each
state has one input `state_<name>` and one output `next_<name>`. A file is rejected unless ONNX Runtime reproduces the
network's output, both in one chunk and hop by hop.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from timbre_restore import __version__, atomic
from timbre_restore.audio import HOP_SAMPLES, FloatArray, frames
from timbre_restore.errors import ExportError
from timbre_restore.models import Generator
from timbre_restore.weights import weights_sha256

OPSET = 17
FORMAT = "3"
TOLERANCE = 1e-5
PROOF_HOPS = 500
METADATA_PREFIX = "timbre_restore."


@dataclass(frozen=True)
class ExportReport:
    """What was written, and the largest differences from the network, in full-scale units."""

    path: Path
    bytes: int
    parameters: int
    hops: int
    """Number of hops that were compared."""
    error_whole: float
    error_hops: float


class _Flat(nn.Module):
    """The generator with inputs and states as flat arguments, as an ONNX graph requires."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        self.inputs = list(generator.inputs(1))
        self.states = list(generator.initial_state(torch.zeros(1, 1, 1)))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(self.inputs)
        chunk, state = dict(zip(self.inputs, tensors[:count], strict=True)), tensors[count:]
        out, after = self.generator.stream(chunk, dict(zip(self.states, state, strict=True)))
        return (*out.values(), *(after[name] for name in self.states))


def export_generator(
    generator: Generator,
    path: Path,
    *,
    metadata: Mapping[str, str] | None = None,
    sound: tuple[FloatArray, FloatArray] | None = None,
    tolerance: float = TOLERANCE,
) -> ExportReport:
    """Write `generator` to `path` by rename, after ONNX Runtime has reproduced its output within `tolerance`.

    `metadata` is stored in the file in addition to what the runtime needs. `sound` is used for the verification,
    degraded and noisy `[T]`; the default is five seconds of synthetic sound. Raises `ExportError` on a mismatch, and
    writes nothing in that case.
    """
    generator.eval()
    content = _to_onnx(generator, dict(metadata or {}))
    degraded, noisy = made_sound() if sound is None else sound
    whole, hops = prove(content, generator, degraded, noisy)
    if not (whole <= tolerance and hops <= tolerance):  # false if either is NaN
        raise ExportError(
            f"{path}: not written, because ONNX Runtime differs from the network by {whole:.2e} (one chunk) and "
            f"{hops:.2e} (hop by hop); {tolerance:.0e} is allowed. Export with the versions pinned in constraints.txt."
        )
    try:
        atomic.write_bytes(path, content)
    except OSError as exc:
        raise ExportError(f"{path}: can't be written ({exc}); check the folder and the free disk space.") from exc
    parameters = sum(p.numel() for p in generator.parameters())
    return ExportReport(path, len(content), parameters, len(degraded) // generator.hop_samples, whole, hops)


def made_sound() -> tuple[FloatArray, FloatArray]:
    """Synthetic degraded and noisy sound `[T]` that swells, fades, clips and falls silent, to exercise the whole range
    of each part of a network."""
    rng, hop = np.random.default_rng(0), HOP_SAMPLES
    swell = np.repeat(np.abs(np.sin(np.arange(PROOF_HOPS) / 7.0)) ** 4, hop)
    noisy = np.clip(rng.standard_normal(PROOF_HOPS * hop) * swell, -1, 1).astype(np.float32)
    return (noisy * np.linspace(0, 1, len(noisy))).astype(np.float32), noisy


def prove(content: bytes, generator: Generator, degraded: FloatArray, noisy: FloatArray) -> tuple[float, float]:
    """Largest difference between ONNX Runtime and the network on a sound, in one chunk and hop by hop.

    `degraded` and `noisy` are `[T]`. Differences are relative to full scale; NaN if an output is not finite.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    count = len(degraded) // generator.hop_samples
    chunk = _whole(generator, degraded, noisy, count)
    start = {name: state.numpy() for name, state in generator.initial_state(torch.zeros(1, 1, 1)).items()}
    with torch.no_grad():
        tensors = {name: torch.from_numpy(value) for name, value in chunk.items()}
        expected, _ = generator.stream(tensors, {name: torch.from_numpy(value) for name, value in start.items()})
    beyond = {name: generator.lookahead_samples if name == "noisy" else 0 for name in chunk}
    errors = []
    for hops in (count, 1):
        states = {f"state_{name}": value for name, value in start.items()}
        parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in expected}
        for first in range(0, count, hops):
            feed = {
                name: _part(generator, name, value, first, min(hops, count - first), beyond[name])
                for name, value in chunk.items()
            }
            values = session.run(None, feed | states)
            for name, value in zip(expected, values, strict=False):
                parts[name].append(value)
            states = dict(zip(states, values[len(expected) :], strict=True))
        found = {name: np.concatenate(values, axis=_time_axis(name)) for name, values in parts.items()}
        differences = [_difference(name, found[name], wanted.numpy()) for name, wanted in expected.items()]
        errors.append(max(differences) if np.isfinite(differences).all() else float("nan"))
    return errors[0], errors[1]


def _difference(name: str, found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest difference in an output, relative to full scale; a spectrum is compared after synthesis.

    A gate is not a sound: what it multiplies is far below full scale, so its difference counts for a tenth.
    """
    difference = found - expected
    if name == "gate":
        difference = 0.1 * difference
    if name == "residual":
        difference, _ = frames.synthesise(difference[0, 0] + 1j * difference[0, 1], np.zeros(HOP_SAMPLES, np.float32))
    return float(np.max(np.abs(difference)))


def _whole(generator: Generator, degraded: FloatArray, noisy: FloatArray, count: int) -> dict[str, NDArray[np.float32]]:
    """All inputs of `stream` for `count` hops of a sound, padded with zeros after its end."""
    hop, shapes = generator.hop_samples, generator.inputs(count)
    if generator.domain == "waveform":
        waves = {"degraded": degraded, "noisy": noisy}
        return {name: _fitted(waves[name], shape[2])[None, None] for name, shape in shapes.items()}
    ahead = generator.lookahead_samples - generator.latency_samples if "noisy" in shapes else 0
    waves = {"degraded": degraded, "noisy": noisy[ahead:]}
    made = {}
    for name, shape in shapes.items():
        if name == "hints":
            made[name] = np.random.default_rng(1).random(shape).astype(np.float32)
            continue
        spectra = frames.analyse(_fitted(waves[name], count * hop).reshape(-1, hop), np.zeros(hop, np.float32))
        made[name] = np.stack([spectra.real, spectra.imag])[None]
    return made


def _fitted(samples: FloatArray, length: int) -> FloatArray:
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


def _time_axis(name: str) -> int:
    """The time axis of the input or output with this name."""
    return 1 if name == "hints" else 2


def _part(
    generator: Generator, name: str, whole: NDArray[np.float32], first: int, count: int, beyond: int
) -> NDArray[np.float32]:
    """`count` hops of a complete input; `beyond` more samples if it is a waveform that looks ahead."""
    hop, beyond = (1, 0) if generator.domain == "spectrum" else (generator.hop_samples, beyond)
    return whole.take(range(first * hop, (first + count) * hop + beyond), axis=_time_axis(name))


def _to_onnx(generator: Generator, metadata: dict[str, str]) -> bytes:
    import onnx

    flat = _Flat(generator)
    shapes = generator.inputs(10)
    state = generator.initial_state(torch.zeros(1, 1, 1))
    arguments = (*(torch.zeros(shape) for shape in shapes.values()), *state.values())
    with torch.no_grad():
        given, _ = generator.stream({name: torch.zeros(shape) for name, shape in shapes.items()}, state)
    inputs = [*shapes, *(f"state_{name}" for name in state)]
    outputs = [*given, *(f"next_{name}" for name in state)]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The tracing exporter, although torch considers it legacy: it keeps a recurrence as one GRU node for any
        # length, while torch.export (2.13) sometimes unrolls it for the traced length. The verification guards this
        # choice.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            flat.eval(), arguments, f"{folder}/model.onnx", input_names=inputs, output_names=outputs,
            dynamic_axes={name: {_time_axis(name): f"{name}_length"} for name in (*shapes, *given)},
            dynamo=False, opset_version=OPSET,
        )  # fmt: skip
        model = onnx.load(f"{folder}/model.onnx")
    facts = {
        "format": FORMAT,
        "version": __version__,
        "generator": generator.settings.name,
        "size": generator.settings.size,
        "domain": generator.domain,
        "sample_rate_hz": str(generator.sample_rate_hz),
        "hop_samples": str(generator.hop_samples),
        "latency_samples": str(generator.latency_samples),
        "lookahead_samples": str(generator.lookahead_samples),
        "conditioning": generator.settings.conditioning,
        "weights_sha256": weights_sha256(model),
    }
    onnx.helper.set_model_props(model, {METADATA_PREFIX + k: v for k, v in (metadata | facts).items()})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
