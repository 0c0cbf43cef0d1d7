"""DeepFilterNet3's three networks over any number of frames, every state an input and an output.

The archive's graphs start each call from nothing: the recurrences from zero, the convolutions from zeros padded in
time. Here the graphs are edited while they are loaded (the archive stays as it is): the paddings go, so that a caller
passes the frames before, and the recurrences take and give their state. One form serves whole recordings, stretches
of them and single frames.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from timbre_restore.suppressors.df_spectrum import ERB_BANDS, FILTER_TAPS, FILTERED_BINS

if TYPE_CHECKING:
    import onnxruntime as ort

FloatArray = NDArray[np.float32]

ENCODER_FRAMES = 2  # earlier frames of features that the first convolutions (3 frames) look at
PATHWAY_FRAMES = 4  # earlier frames of `c0` that the filter decoder's convolution (5 frames) looks at
_WIDTH, _HIDDEN = 64, 256
_GRUS = {"enc": 1, "erb_dec": 2, "df_dec": 2}


@dataclass
class GraphState:
    """What the three networks remember from frame to frame."""

    erb: FloatArray = field(default_factory=lambda: np.zeros((1, 1, ENCODER_FRAMES, ERB_BANDS), np.float32))
    unit: FloatArray = field(default_factory=lambda: np.zeros((1, 2, ENCODER_FRAMES, FILTERED_BINS), np.float32))
    pathway: FloatArray = field(
        default_factory=lambda: np.zeros((1, _WIDTH, PATHWAY_FRAMES, FILTERED_BINS), np.float32)
    )
    hidden: dict[str, list[FloatArray]] = field(
        default_factory=lambda: {
            name: [np.zeros((1, 1, _HIDDEN), np.float32) for _ in range(count)] for name, count in _GRUS.items()
        }
    )


class Graphs:
    """The networks of one archive, on one thread."""

    def __init__(self, archive: Path) -> None:
        files = _read(archive)
        self._sessions = {name: _open(files[f"{name}.onnx"]) for name in _GRUS}

    def __call__(
        self, erb: FloatArray, unit: FloatArray, state: GraphState
    ) -> tuple[FloatArray, FloatArray, NDArray[np.complex64], GraphState]:
        """Local SNR in dB `[N]`, ERB gains `[N, 32]`, filter taps `[N, 96, 5]` and the new state.

        From features `erb` `[N, 32]` and `unit` `[2, N, 96]`; N at least 1.
        """
        erb_seen = np.concatenate([state.erb, erb[None, None]], axis=2)
        unit_seen = np.concatenate([state.unit, unit[None]], axis=2)
        new = GraphState(erb=erb_seen[:, :, -ENCODER_FRAMES:], unit=unit_seen[:, :, -ENCODER_FRAMES:], hidden={})
        enc = self._run("enc", {"feat_erb": erb_seen, "feat_spec": unit_seen}, state, new)
        inner = {name: enc[name] for name in ("emb", "e3", "e2", "e1", "e0")}
        gains = self._run("erb_dec", inner, state, new)["m"]
        pathway = np.concatenate([state.pathway, enc["c0"]], axis=2)
        new.pathway = pathway[:, :, -PATHWAY_FRAMES:]
        taps = self._run("df_dec", {"emb": enc["emb"], "c0": pathway}, state, new)["coefs"]
        pairs = np.ascontiguousarray(taps.reshape(-1, FILTERED_BINS, FILTER_TAPS, 2))
        return enc["lsnr"].reshape(-1), gains.reshape(-1, ERB_BANDS), pairs.view(np.complex64)[..., 0], new

    def _run(
        self, name: str, feeds: dict[str, FloatArray], state: GraphState, new: GraphState
    ) -> dict[str, FloatArray]:
        session, count = self._sessions[name], _GRUS[name]
        before = {f"hidden_{i}": state.hidden[name][i] for i in range(count)}
        names = [out.name for out in session.get_outputs()]
        values = session.run(names, feeds | before)
        new.hidden[name] = values[len(values) - count :]
        return dict(zip(names, values, strict=True))


def _read(archive: Path) -> dict[str, bytes]:
    """The files of the archive by base name; only read, nothing is unpacked to disk."""
    files = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            data = tar.extractfile(member) if member.isfile() else None
            if data is not None:
                files[Path(member.name).name] = data.read()
    return files


def _open(model: bytes) -> ort.InferenceSession:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(_with_states(model), options, providers=["CPUExecutionProvider"])


def _with_states(model: bytes) -> bytes:
    """The graph without its paddings in time, its recurrences' states as inputs and (last) outputs."""
    import onnx
    from onnx import TensorProto, helper

    loaded = onnx.load_model_from_string(model)
    graph = loaded.graph
    unpadded = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Pad"}
    kept = [node for node in graph.node if node.op_type != "Pad"]
    grus = [node for node in kept if node.op_type == "GRU"]
    for node in kept:
        for i, name in enumerate(node.input):
            node.input[i] = unpadded.get(name, name)
    for i, node in enumerate(grus):
        node.input[5] = f"hidden_{i}"
        graph.input.append(helper.make_tensor_value_info(f"hidden_{i}", TensorProto.FLOAT, [1, 1, _HIDDEN]))
        graph.output.append(helper.make_tensor_value_info(node.output[1], TensorProto.FLOAT, [1, 1, _HIDDEN]))
    del graph.node[:]
    graph.node.extend(kept)
    del graph.value_info[:]
    for value in graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:  # `c0` holds four frames more than `emb`: their lengths are not one symbol
                dim.dim_param = f"{value.name}_{dim.dim_param}"
    edited: bytes = loaded.SerializeToString()
    return edited
