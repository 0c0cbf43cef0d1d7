"""An exported file, opened: its session, its facts, its states."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, LEAD_SAMPLES, SAMPLE_RATE_HZ
from timbre_restore.audio.frames import BINS, ERB_BANDS
from timbre_restore.errors import ModelError

FloatArray = NDArray[np.float32]

METADATA_PREFIX = "timbre_restore."
FORMATS = ("3",)
REQUIRED = (
    "format", "domain", "sample_rate_hz", "hop_samples", "latency_samples", "lookahead_samples", "conditioning",
)  # fmt: skip
CONDITIONINGS = ("degraded", "degraded+noisy", "degraded+noisy+hints")
FAINTEST = np.float32(1e-20)
WAVEFORM, SPECTRUM = "waveform", "spectrum"
RESULT = {WAVEFORM: "restored", SPECTRUM: "residual"}
LATENCY_SAMPLES = {WAVEFORM: 0, SPECTRUM: HOP_SAMPLES}
"""What a model waits for behind a black box: on spectra, the hop that its frame ends in."""
LARGEST_STATE = 2**24
"""Numbers in all states together, 64 MB; the packaged voices have up to 8,338."""


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
        conditioning = self._fact("conditioning", CONDITIONINGS)
        self.needs_noisy, self.takes_hints = "noisy" in conditioning, "hints" in conditioning
        self.latency_samples = int(self._fact("latency_samples", (str(LATENCY_SAMPLES[self.domain]),)))
        ahead = LEAD_SAMPLES if self.needs_noisy else 0
        self.lookahead_samples = int(self._fact("lookahead_samples", (str(ahead),)))
        self._states = {i.name: i.shape for i in session.get_inputs() if i.name.startswith("state_")}
        self._outputs = [out.name for out in session.get_outputs() if not out.name.startswith("next_")]
        self._wanted = [*self._outputs, *(name.replace("state_", "next_", 1) for name in self._states)]
        self._refuse_another_graph()
        self._result = self._outputs.index(RESULT[self.domain])

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
        # A stranger's graph may fail in as many ways as there are operators, and when it runs as well as when it opens.
        try:
            session = onnxruntime.InferenceSession(
                content,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # or the package prints to stdout, where the sound may go
            )
            model = cls(session, str(path))
            model._try_out()
        except ModelError:
            raise
        except Exception as exc:
            raise ModelError(
                f"{path}: is not a model that ONNX Runtime can open and run "
                f"({' '.join(str(exc).split())[:200] or type(exc).__name__}); export it again or copy it again."
            ) from exc
        return model

    def _fact(self, key: str, known: tuple[str, ...]) -> str:
        value: str = self.metadata[key]
        if value not in known:
            raise ModelError(
                f"{self.name}: says {key} is '{value[:40]}', this version runs {' or '.join(known)}; export it again."
            )
        return value

    def _refuse_another_graph(self) -> None:
        """Raise `ModelError` where what the graph takes and gives is not what its own facts promise."""
        inputs = {i.name for i in self.session.get_inputs()}
        outputs = {o.name for o in self.session.get_outputs()}
        wanted = {"degraded"} | ({"noisy"} if self.needs_noisy else set()) | ({"hints"} if self.takes_hints else set())
        wrong = sorted(wanted ^ (inputs - set(self._states))) + sorted({RESULT[self.domain]} - outputs)
        wrong += sorted({name.replace("state_", "next_", 1) for name in self._states} - outputs)
        wrong += [
            name
            for name, shape in self._states.items()
            if not shape or not all(isinstance(size, int) for size in shape)
        ]
        if not wrong and sum(math.prod(shape) for shape in self._states.values()) > LARGEST_STATE:
            wrong = ["states of more than 64 MB"]
        if wrong:
            self._refuse(wrong)

    def _refuse(self, wrong: list[str]) -> NoReturn:
        raise ModelError(
            f"{self.name}: its graph does not have the inputs, outputs and states that its facts promise (see "
            f"{', '.join(wrong)}); export it again."
        )

    def _try_out(self) -> None:
        """Two calls on silence, of one hop and of two. Raises `ModelError` where a shape is not what it should be."""
        state, before = self.initial_state(), self.initial_state()
        for hops in (1, 2):
            shapes: dict[str, tuple[int, ...]] = {"degraded": (1, 2, hops, BINS), "noisy": (1, 2, hops, BINS)}
            if self.domain == WAVEFORM:
                samples = hops * HOP_SAMPLES
                shapes = {"degraded": (1, 1, samples), "noisy": (1, 1, samples + self.lookahead_samples)}
            shapes["hints"] = (1, hops, ERB_BANDS + 1)
            given = ["degraded", *(["noisy"] if self.needs_noisy else []), *(["hints"] if self.takes_hints else [])]
            outputs, state = self.run({name: np.zeros(shapes[name], np.float32) for name in given}, state)
            result = RESULT[self.domain]
            wrong = [result] if outputs[result].shape != shapes["degraded"] else []
            if wrong := wrong + [name for name, value in state.items() if value.shape != before[name].shape]:
                self._refuse(wrong)

    def initial_state(self) -> dict[str, FloatArray]:
        """The states before any sound, by the names of the graph's inputs."""
        return {name: np.zeros(shape, dtype=np.float32) for name, shape in self._states.items()}

    def run(
        self, chunk: dict[str, FloatArray], state: dict[str, FloatArray]
    ) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Named outputs of one call, and the states after it. Sound in `chunk` is best `normal`.

        Raises `ModelError` where the model gives NaN or infinity: from sound, a sound one never does.
        """
        values = self.session.run(self._wanted, chunk | state)
        if not np.isfinite(values[self._result]).all():
            raise ModelError(
                f"{self.name}: gave NaN or infinity instead of sound; its weights are spoiled: export it again from a "
                "healthy checkpoint."
            )
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
