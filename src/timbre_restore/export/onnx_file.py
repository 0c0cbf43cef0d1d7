"""One ONNX file with every state as a named input and output, and the proof that it computes what the network does.

Inputs: `degraded` `[1, 1, T]` and, when conditioned on it, `noisy` `[1, 1, T + 1440]`, T any number of whole hops; and
one `state_<name>` per state. Outputs: `restored` `[1, 1, T]` and one `next_<name>` per state. A file is refused when
ONNX Runtime does not give the network's numbers, in one chunk and in hops.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from timbre_restore import __version__, atomic
from timbre_restore.errors import ExportError
from timbre_restore.models import UNet

OPSET = 17
TOLERANCE = 1e-5
PROOF_HOPS = 200
METADATA_PREFIX = "timbre_restore."


@dataclass(frozen=True)
class ExportReport:
    """What was written, and the largest differences to the network, in full-scale units."""

    path: Path
    bytes: int
    parameters: int
    error_whole: float
    error_hops: float


class _Stateful(nn.Module):
    """The generator with its states as flat arguments, as a graph needs them."""

    def __init__(self, generator: UNet, names: list[str]) -> None:
        super().__init__()
        self.generator = generator
        self.names = names

    def forward(self, degraded: Tensor, noisy: Tensor | None, states: list[Tensor]) -> tuple[Tensor, ...]:
        restored, after = self.generator.stream(degraded, noisy, dict(zip(self.names, states, strict=True)))
        return (restored, *[after[name] for name in self.names])


def export_generator(
    generator: UNet, path: Path, *, metadata: Mapping[str, str] | None = None, tolerance: float = TOLERANCE
) -> ExportReport:
    """Write `generator` to `path` by rename, after ONNX Runtime has reproduced it within `tolerance`.

    `metadata` is kept in the file beside what the runtime needs (rate, hop, latency, conditioning). Raises
    `ExportError`, and writes nothing, on a mismatch.
    """
    generator = generator.eval()
    content = _to_onnx(generator, dict(metadata or {}))
    whole, hops = prove(content, generator)
    if not (whole <= tolerance and hops <= tolerance):  # false for NaN, wherever it stands
        raise ExportError(
            f"{path}: not written, because ONNX Runtime differs from the network by {whole:.2e} (one chunk) and "
            f"{hops:.2e} (hop by hop); {tolerance:.0e} is allowed. Export with the pinned versions of constraints.txt."
        )
    try:
        atomic.write_bytes(path, content)
    except OSError as exc:
        raise ExportError(f"{path}: can't be written ({exc}); check the folder and the disk.") from exc
    parameters = sum(p.numel() for p in generator.parameters())
    return ExportReport(path, len(content), parameters, whole, hops)


def prove(content: bytes, generator: UNet) -> tuple[float, float]:
    """Largest difference between ONNX Runtime and the network on made sound: in one chunk, and hop by hop."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    hop, ahead = generator.hop_samples, generator.lookahead_samples
    rng = np.random.default_rng(0)
    length = PROOF_HOPS * hop
    # Sound that comes, goes, clips and falls silent: each part of the network is driven over its range.
    swell = np.repeat(np.abs(np.sin(np.arange(PROOF_HOPS + 4) / 7.0)) ** 4, hop)[: length + ahead]
    noisy = np.clip(rng.standard_normal(length + ahead) * swell, -1, 1).astype(np.float32)
    degraded = (noisy[:length] * np.linspace(0, 1, length)).astype(np.float32)
    with torch.no_grad():
        given = torch.from_numpy(noisy)[None, None] if generator.uses_noisy else None
        expected = generator(torch.from_numpy(degraded)[None, None], given).numpy()[0, 0]
    errors = []
    for chunk in (length, hop):
        states = {f"state_{n}": s.numpy() for n, s in generator.initial_state(torch.zeros(1, 1, hop)).items()}
        outputs = []
        for start in range(0, length, chunk):
            feed = {"degraded": degraded[None, None, start : start + chunk], **states}
            if generator.uses_noisy:
                feed["noisy"] = noisy[None, None, start : start + chunk + ahead]
            restored, *after = session.run(None, feed)
            states = dict(zip(states, after, strict=True))
            outputs.append(restored[0, 0])
        errors.append(float(np.max(np.abs(np.concatenate(outputs) - expected))))
    return errors[0], errors[1]


def _to_onnx(generator: UNet, metadata: dict[str, str]) -> bytes:
    import onnx

    hop, ahead = generator.hop_samples, generator.lookahead_samples
    state = generator.initial_state(torch.zeros(1, 1, hop))
    names = list(state)
    noisy = torch.zeros(1, 1, 10 * hop + ahead) if generator.uses_noisy else None
    arguments = (torch.zeros(1, 1, 10 * hop), noisy, list(state.values()))
    inputs = ["degraded", *(["noisy"] if generator.uses_noisy else []), *[f"state_{n}" for n in names]]
    outputs = ["restored", *[f"next_{n}" for n in names]]
    axes = {"degraded": {2: "samples"}, "noisy": {2: "samples_and_lookahead"}, "restored": {2: "samples"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The tracing exporter, though torch calls it the old one: it keeps a recurrence as one GRU node for any length,
        # where torch.export (2.13) sometimes unrolls it for the traced length. The proof guards the choice.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Stateful(generator, names).eval(), arguments, f"{folder}/model.onnx",
            input_names=inputs, output_names=outputs,
            dynamic_axes={name: axis for name, axis in axes.items() if name in inputs + outputs},
            dynamo=False, opset_version=OPSET,
        )  # fmt: skip
        model = onnx.load(f"{folder}/model.onnx")
    facts = {
        "format": "1",
        "version": __version__,
        "generator": "unet",
        "sample_rate_hz": str(generator.sample_rate_hz),
        "hop_samples": str(hop),
        "latency_samples": str(generator.latency_samples),
        "lookahead_samples": str(ahead),
        "conditioning": generator.settings.conditioning,
    }
    onnx.helper.set_model_props(model, {METADATA_PREFIX + k: v for k, v in (metadata | facts).items()})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
