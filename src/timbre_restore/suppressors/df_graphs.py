"""DeepFilterNet3's three networks as one graph over any number of frames, with every state as an input and an output.

The archive's graphs start each call from scratch: the recurrences from zero, the convolutions from zero padding in
time. Here the graphs are edited while they are loaded (the archive stays unchanged): the padding is removed, so that
the caller passes the preceding frames, and the recurrences take and return their state. The same graph then serves
whole recordings, stretches of them and single frames.

It also takes several signals side by side, in lanes. A recurrence reads its 790 kB of weights once per frame however
many lanes there are, so four lanes cost two thirds of four calls. The grouped linear layers become matrix products,
which are faster than `Einsum` in ONNX Runtime. And the three networks become one graph, so that intermediate results
are neither copied out nor reordered and back.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import FloatArray
from timbre_restore.audio.frames import ERB_BANDS, FILTERED_BINS
from timbre_restore.suppressors.df_spectrum import FILTER_TAPS

if TYPE_CHECKING:
    import onnxruntime as ort


ENCODER_FRAMES = 2  # earlier feature frames that the first convolutions (3 frames) need
PATHWAY_FRAMES = 4  # earlier frames of `c0` that the filter decoder's convolution (5 frames) needs
RECURRENCES = 5  # one in the encoder, two in each decoder
_WIDTH, _HIDDEN = 64, 256
_NETWORKS = ("enc", "erb_dec", "df_dec")
_LINKS = {"erb_dec/emb": "enc/emb", "df_dec/emb": "enc/emb", "df_dec/c0": "pathway"} | {
    f"erb_dec/e{i}": f"enc/e{i}" for i in range(4)
}
"""Input of one network → its name in the joined graph."""
_RESULTS = ("enc/lsnr", "erb_dec/m", "df_dec/coefs")


@dataclass
class GraphState:
    """The state of the networks between frames, for each lane."""

    erb: FloatArray
    unit: FloatArray
    pathway: FloatArray
    hidden: list[FloatArray]

    @classmethod
    def zeros(cls, lanes: int = 1) -> GraphState:
        """The initial state."""
        return cls(
            np.zeros((lanes, 1, ENCODER_FRAMES, ERB_BANDS), np.float32),
            np.zeros((lanes, 2, ENCODER_FRAMES, FILTERED_BINS), np.float32),
            np.zeros((lanes, _WIDTH, PATHWAY_FRAMES, FILTERED_BINS), np.float32),
            [np.zeros((1, lanes, _HIDDEN), np.float32) for _ in range(RECURRENCES)],
        )

    def clear(self, lane: int) -> None:
        """Reset a lane for another signal."""
        self.erb[lane] = self.unit[lane] = self.pathway[lane] = 0.0
        for value in self.hidden:
            value[:, lane] = 0.0


class Graphs:
    """The networks of one archive for `lanes` signals at once, on one thread."""

    def __init__(self, archive: Path, lanes: int = 1) -> None:
        self.lanes = lanes
        self._session = _open(_joined(_read(archive), lanes))
        self._hidden = [f"hidden_{i}" for i in range(RECURRENCES)]

    def __call__(
        self, erb: FloatArray, unit: FloatArray, state: GraphState
    ) -> tuple[FloatArray, FloatArray, NDArray[np.complex64], GraphState]:
        """Local SNR in dB `[B, N]`, ERB gains `[B, N, 32]`, filter taps `[B, N, 96, 5]` and the new state.

        From features `erb` `[B, N, 32]` and `unit` `[B, 2, N, 96]`; B is the number of lanes, N at least 1.
        """
        erb_seen = np.concatenate([state.erb, erb[:, None]], axis=2)
        unit_seen = np.concatenate([state.unit, unit], axis=2)
        feeds = {"enc/feat_erb": erb_seen, "enc/feat_spec": unit_seen, "pathway_before": state.pathway}
        feeds |= dict(zip(self._hidden, state.hidden, strict=True))
        names = [*_RESULTS, "pathway_after", *(f"{name}_after" for name in self._hidden)]
        snr, gains, taps, pathway, *hidden = self._session.run(names, feeds)
        pairs = np.ascontiguousarray(taps.reshape(self.lanes, -1, FILTERED_BINS, FILTER_TAPS, 2))
        new = GraphState(erb_seen[:, :, -ENCODER_FRAMES:], unit_seen[:, :, -ENCODER_FRAMES:], pathway, hidden)
        return (
            snr.reshape(self.lanes, -1),
            gains.reshape(self.lanes, -1, ERB_BANDS),
            pairs.view(np.complex64)[..., 0],
            new,
        )


@lru_cache(maxsize=4)
def open_graphs(archive: Path, lanes: int) -> Graphs:
    """The networks, opened once per process: they hold no state, so suppressors with different settings share them."""
    return Graphs(archive, lanes)


def _read(archive: Path) -> dict[str, bytes]:
    """The files of the archive by base name; nothing is unpacked to disk."""
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


def _joined(files: dict[str, bytes], lanes: int) -> bytes:
    """The three networks as one graph for `lanes` signals, with its states as inputs and outputs."""
    from onnx import TensorProto, compose, helper, load_model_from_string

    models = [compose.add_prefix(load_model_from_string(files[f"{name}.onnx"]), f"{name}/") for name in _NETWORKS]
    nodes = [node for model in models for node in _without_padding(model.graph)]
    inputs = [_for_lanes(value, lanes) for model in models for value in model.graph.input if value.name not in _LINKS]
    outputs = [value for model in models for value in model.graph.output if value.name in _RESULTS]
    for i, node in enumerate(node for node in nodes if node.op_type == "GRU"):
        nodes.append(helper.make_node("Identity", [node.output[1]], [f"hidden_{i}_after"]))
        node.input[5] = f"hidden_{i}"
        for values, name in ((inputs, f"hidden_{i}"), (outputs, f"hidden_{i}_after")):
            values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, lanes, _HIDDEN]))
    for values, name in ((inputs, "pathway_before"), (outputs, "pathway_after")):
        shape = [lanes, _WIDTH, PATHWAY_FRAMES, FILTERED_BINS]
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    weights = [weight for model in models for weight in model.graph.initializer]
    for name, number in (("from", -PATHWAY_FRAMES), ("to", 2**31), ("axis", 2)):
        weights.append(helper.make_tensor(f"pathway_{name}", TensorProto.INT64, [1], [number]))
    place = next(i for i, node in enumerate(nodes) if "pathway" in node.input)
    nodes[place:place] = [
        helper.make_node("Concat", ["pathway_before", "enc/c0"], ["pathway"], axis=2),
        helper.make_node("Slice", ["pathway", "pathway_from", "pathway_to", "pathway_axis"], ["pathway_after"]),
    ]
    for value in outputs:  # shapes declared for one signal would be wrong for several
        value.type.tensor_type.ClearField("shape")
    graph = helper.make_graph(nodes, "DeepFilterNet3", inputs, outputs, weights)
    first = models[0]
    whole = helper.make_model(graph, opset_imports=first.opset_import, ir_version=first.ir_version)
    serialised: bytes = whole.SerializeToString()
    return serialised


def _without_padding(graph: Any) -> list[Any]:
    """The nodes of a network without padding, with inputs renamed for the joined graph and `Einsum` as products."""
    renamed = _LINKS | {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Pad"}
    nodes = []
    for node in graph.node:
        for i, name in enumerate(node.input):
            while name in renamed:  # padding of a linked input is renamed twice
                name = renamed[name]
            node.input[i] = name
        if node.op_type != "Pad":
            nodes += _as_product(node) if node.op_type == "Einsum" else [node]
    return nodes


def _for_lanes(value: Any, lanes: int) -> Any:
    """An input for `lanes` signals, with a separate name for its number of frames."""
    dims = value.type.tensor_type.shape.dim
    dims[0].dim_value = lanes
    for dim in dims:
        if dim.dim_param:
            dim.dim_param = f"{value.name}_{dim.dim_param}"
    return value


def _as_product(node: Any) -> list[Any]:
    """A grouped linear layer, btgi,gih->btgh, as one matrix product `[g, t, i] · [g, i, h]` per signal."""
    from onnx import helper

    equation = helper.get_attribute_value(node.attribute[0]).decode().replace(" ", "")
    if equation != "btgi,gih->btgh":
        raise ValueError(f"{node.name}: unsupported Einsum equation '{equation}'")
    values, weights = node.input
    by_group, product = f"{values}_by_group", f"{node.output[0]}_by_group"
    return [
        helper.make_node("Transpose", [values], [by_group], perm=[0, 2, 1, 3]),
        helper.make_node("MatMul", [by_group, weights], [product]),
        helper.make_node("Transpose", [product], [node.output[0]], perm=[0, 2, 1, 3]),
    ]
