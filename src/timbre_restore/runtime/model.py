"""An exported file, opened: its session, its facts, its states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, SAMPLE_RATE_HZ
from timbre_restore.errors import ModelError

FloatArray = NDArray[np.float32]

METADATA_PREFIX = "timbre_restore."
FORMATS = ("3",)
REQUIRED = (
    "format", "domain", "sample_rate_hz", "hop_samples", "latency_samples", "lookahead_samples", "conditioning",
)  # fmt: skip
FAINTEST = np.float32(1e-20)
WAVEFORM, SPECTRUM = "waveform", "spectrum"


class Model:
    """A session that many streams may share: it holds no state, each stream holds its own."""

    def __init__(self, session: Any, name: str) -> None:
        self.session, self.name = session, name
        properties = session.get_modelmeta().custom_metadata_map
        prefix = len(METADATA_PREFIX)
        self.metadata = {k[prefix:]: v for k, v in properties.items() if k.startswith(METADATA_PREFIX)}
        missing = [key for key in REQUIRED if key not in self.metadata]
        if "format" in self.metadata and self.metadata["format"] not in FORMATS:
            raise ModelError(
                f"{name}: has format {self.metadata['format']}, this version reads {', '.join(FORMATS)}; export it "
                "again, or use the version that wrote it."
            )
        if missing:
            raise ModelError(
                f"{name}: is an ONNX file but not one of this project's (it lacks {', '.join(missing)}); make one with "
                "'timbre-restore export'."
            )
        self.domain = self._fact("domain", (WAVEFORM, SPECTRUM))
        self.sample_rate_hz = int(self._fact("sample_rate_hz", (str(SAMPLE_RATE_HZ),)))
        self.hop_samples = int(self._fact("hop_samples", (str(HOP_SAMPLES),)))
        self.latency_samples = self._hops_of("latency_samples")
        self.lookahead_samples = self._hops_of("lookahead_samples")
        if self.latency_samples > self.lookahead_samples > 0:
            raise ModelError(
                f"{name}: says that it waits for {self.latency_samples} samples and looks at noisy only "
                f"{self.lookahead_samples} later; expected at least as many; export it again."
            )
        self.needs_noisy = "noisy" in self.metadata["conditioning"]
        self.takes_hints = "hints" in self.metadata["conditioning"]
        self._states = {i.name: i.shape for i in session.get_inputs() if i.name.startswith("state_")}
        self._outputs = [out.name for out in session.get_outputs() if not out.name.startswith("next_")]
        self._wanted = [*self._outputs, *(name.replace("state_", "next_", 1) for name in self._states)]
        self._refuse_another_graph()

    @classmethod
    def open(cls, path: Path, threads: int) -> Model:
        """Read and open a file. Raises `ModelError` when it is absent, damaged, or not this project's."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise ModelError(f"{path}: can't be read ({exc.strerror}); give an exported model's path.") from exc
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as exc:
            raise ModelError(
                f"{path}: is not a model that ONNX Runtime can open ({' '.join(str(exc).split())[:200]}); export it "
                "again or copy it again."
            ) from exc
        return cls(session, str(path))

    def _fact(self, key: str, known: tuple[str, ...]) -> str:
        value: str = self.metadata[key]
        if value not in known:
            raise ModelError(
                f"{self.name}: says {key} is '{value}', this version runs {' or '.join(known)}; export it again."
            )
        return value

    def _hops_of(self, key: str) -> int:
        value = self.metadata[key]
        if not (value.isascii() and value.isdigit()) or int(value) % HOP_SAMPLES:
            raise ModelError(
                f"{self.name}: says {key} is '{value}', expected a multiple of {HOP_SAMPLES}; export it again."
            )
        return int(value)

    def _refuse_another_graph(self) -> None:
        """Raise `ModelError` where what the graph takes and gives is not what its own facts promise."""
        inputs = {i.name for i in self.session.get_inputs()}
        outputs = {o.name for o in self.session.get_outputs()}
        wanted = {"degraded"} | ({"noisy"} if self.needs_noisy else set()) | ({"hints"} if self.takes_hints else set())
        given = {"residual" if self.domain == SPECTRUM else "restored"}
        wrong = sorted(wanted ^ (inputs - set(self._states))) + sorted(given - outputs)
        wrong += sorted({name.replace("state_", "next_", 1) for name in self._states} - outputs)
        wrong += [name for name, shape in self._states.items() if not all(isinstance(size, int) for size in shape)]
        if wrong:
            raise ModelError(
                f"{self.name}: its graph does not have the inputs, outputs and states that its facts promise (see "
                f"{', '.join(wrong)}); export it again."
            )

    def initial_state(self) -> dict[str, FloatArray]:
        """The states before any sound, by the names of the graph's inputs."""
        return {name: np.zeros(shape, dtype=np.float32) for name, shape in self._states.items()}

    def run(
        self, chunk: dict[str, FloatArray], state: dict[str, FloatArray]
    ) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Named outputs of one call, and the states after it. Sound in `chunk` is best `normal`."""
        values = self.session.run(self._wanted, chunk | state)
        count = len(self._outputs)
        return dict(zip(self._outputs, values, strict=False)), dict(zip(self._states, values[count:], strict=True))


def normal(samples: FloatArray) -> FloatArray:
    """A copy, in C order, without what is far below any sound: numbers near the smallest are up to 20 times slower.

    A sum with a number so much larger rounds them away, and hardly anything else.
    """
    kept = np.empty(samples.shape, np.float32)
    np.add(samples, FAINTEST, out=kept)
    kept -= FAINTEST
    return kept
