"""DeepFilterNet3's three networks over any number of frames, every state an input and an output.

The archive's graphs start each call from nothing: the recurrences from zero, the convolutions from zeros padded in
time. Here the graphs are edited while they are loaded (the archive stays as it is): the paddings go, so that a caller
passes the frames before, and the recurrences take and give their state. One form serves whole recordings, stretches
of them and single frames.

They also take several signals side by side, in lanes. A recurrence reads its 790 kB of weights once per frame however
many lanes there are, so four lanes cost two thirds of four calls. The grouped linear layers become products of
matrices, which ONNX Runtime is quicker at than at `Einsum`.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """What the three networks remember from frame to frame, for each lane."""

    erb: FloatArray
    unit: FloatArray
    pathway: FloatArray
    hidden: dict[str, list[FloatArray]]

    @classmethod
    def zeros(cls, lanes: int = 1) -> GraphState:
        """The state before any sound."""
        return cls(
            np.zeros((lanes, 1, ENCODER_FRAMES, ERB_BANDS), np.float32),
            np.zeros((lanes, 2, ENCODER_FRAMES, FILTERED_BINS), np.float32),
            np.zeros((lanes, _WIDTH, PATHWAY_FRAMES, FILTERED_BINS), np.float32),
            {name: [np.zeros((1, lanes, _HIDDEN), np.float32) for _ in range(n)] for name, n in _GRUS.items()},
        )

    def clear(self, lane: int) -> None:
        """Let a lane begin with another signal."""
        self.erb[lane] = self.unit[lane] = self.pathway[lane] = 0.0
        for values in self.hidden.values():
            for value in values:
                value[:, lane] = 0.0


class Graphs:
    """The networks of one archive for `lanes` signals at once, on one thread."""

    def __init__(self, archive: Path, lanes: int = 1) -> None:
        files = _read(archive)
        self.lanes = lanes
        self._sessions = {name: _open(_edited(files[f"{name}.onnx"], lanes)) for name in _GRUS}

    def __call__(
        self, erb: FloatArray, unit: FloatArray, state: GraphState
    ) -> tuple[FloatArray, FloatArray, NDArray[np.complex64], GraphState]:
        """Local SNR in dB `[B, N]`, ERB gains `[B, N, 32]`, filter taps `[B, N, 96, 5]` and the new state.

        From features `erb` `[B, N, 32]` and `unit` `[B, 2, N, 96]`, B the number of lanes; N at least 1.
        """
        lanes = self.lanes
        erb_seen = np.concatenate([state.erb, erb[:, None]], axis=2)
        unit_seen = np.concatenate([state.unit, unit], axis=2)
        hidden: dict[str, list[FloatArray]] = {}
        enc = self._run("enc", {"feat_erb": erb_seen, "feat_spec": unit_seen}, state, hidden)
        inner = {name: enc[name] for name in ("emb", "e3", "e2", "e1", "e0")}
        gains = self._run("erb_dec", inner, state, hidden)["m"]
        pathway = np.concatenate([state.pathway, enc["c0"]], axis=2)
        taps = self._run("df_dec", {"emb": enc["emb"], "c0": pathway}, state, hidden)["coefs"]
        pairs = np.ascontiguousarray(taps.reshape(lanes, -1, FILTERED_BINS, FILTER_TAPS, 2))
        new = GraphState(
            erb_seen[:, :, -ENCODER_FRAMES:], unit_seen[:, :, -ENCODER_FRAMES:], pathway[:, :, -PATHWAY_FRAMES:], hidden
        )
        return (
            enc["lsnr"].reshape(lanes, -1),
            gains.reshape(lanes, -1, ERB_BANDS),
            pairs.view(np.complex64)[..., 0],
            new,
        )

    def _run(
        self, name: str, feeds: dict[str, FloatArray], state: GraphState, hidden: dict[str, list[FloatArray]]
    ) -> dict[str, FloatArray]:
        session, count = self._sessions[name], _GRUS[name]
        before = {f"hidden_{i}": state.hidden[name][i] for i in range(count)}
        names = [out.name for out in session.get_outputs()]
        values = session.run(names, feeds | before)
        hidden[name] = values[len(values) - count :]
        return dict(zip(names, values, strict=True))


@lru_cache(maxsize=4)
def open_graphs(archive: Path, lanes: int) -> Graphs:
    """The networks, opened once per process: they hold no state, so suppressors with other settings share them."""
    return Graphs(archive, lanes)


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
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _edited(model: bytes, lanes: int) -> bytes:
    """The graph for `lanes` signals, without its paddings in time, its states as inputs and (last) outputs."""
    import onnx

    loaded = onnx.load_model_from_string(model)
    graph = loaded.graph
    unpadded = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Pad"}
    kept = [node for node in graph.node if node.op_type != "Pad"]
    for node in kept:
        for i, name in enumerate(node.input):
            node.input[i] = unpadded.get(name, name)
    _expose_states(graph, [node for node in kept if node.op_type == "GRU"], lanes)
    nodes = [new for node in kept for new in (_as_product(node) if node.op_type == "Einsum" else [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        if not value.name.startswith("hidden_"):
            dims[0].dim_value = lanes
        for dim in dims:
            if dim.dim_param:  # `c0` holds four frames more than `emb`: their lengths are not one symbol
                dim.dim_param = f"{value.name}_{dim.dim_param}"
    for value in graph.output:  # what was declared for one signal would be wrong for several
        value.type.tensor_type.ClearField("shape")
    edited: bytes = loaded.SerializeToString()
    return edited


def _expose_states(graph: Any, grus: list[Any], lanes: int) -> None:
    from onnx import TensorProto, helper

    for i, node in enumerate(grus):
        node.input[5] = f"hidden_{i}"
        shape = [1, lanes, _HIDDEN]
        graph.input.append(helper.make_tensor_value_info(f"hidden_{i}", TensorProto.FLOAT, shape))
        graph.output.append(helper.make_tensor_value_info(node.output[1], TensorProto.FLOAT, shape))


def _as_product(node: Any) -> list[Any]:
    """A grouped linear layer, btgi,gih->btgh, as one product of matrices `[g, t, i] · [g, i, h]` per signal."""
    from onnx import helper

    equation = helper.get_attribute_value(node.attribute[0]).decode().replace(" ", "")
    if equation != "btgi,gih->btgh":
        raise ValueError(f"{node.name}: an Einsum of '{equation}' is not known here")
    values, weights = node.input
    by_group, product = f"{values}_by_group", f"{node.output[0]}_by_group"
    return [
        helper.make_node("Transpose", [values], [by_group], perm=[0, 2, 1, 3]),
        helper.make_node("MatMul", [by_group, weights], [product]),
        helper.make_node("Transpose", [product], [node.output[0]], perm=[0, 2, 1, 3]),
    ]
