"""An opened exported file: its session, metadata and states."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnxruntime

from timbre_restore.audio import HOP_SAMPLES, LEAD_SAMPLES, SAMPLE_RATE_HZ, FloatArray
from timbre_restore.audio.frames import BINS, ERB_BANDS
from timbre_restore.errors import ModelError

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
"""A model's latency behind a black box: for spectra, the hop that completes the frame."""
LARGEST_STATE = 2**24
"""Maximum number of values in all states together, 64 MB; the packaged voices have up to 8,338."""


class Model:
    """A session that many streams may share: it holds no state, since each stream holds its own."""

    def __init__(self, session: Any, name: str) -> None:
        self.session, self.name = session, name
        properties = session.get_modelmeta().custom_metadata_map
        prefix = len(METADATA_PREFIX)
        self.metadata = {k[prefix:]: v for k, v in properties.items() if k.startswith(METADATA_PREFIX)}
        missing = [key for key in REQUIRED if key not in self.metadata]
        if "format" in self.metadata and self.metadata["format"] not in FORMATS:
            raise ModelError(
                f"{name}: has format {self.metadata['format']}, but this version reads {', '.join(FORMATS)}; export it "
                "again, or use the version that wrote it."
            )
        if missing:
            raise ModelError(
                f"{name}: is an ONNX file but not one of this project's (it lacks {', '.join(missing)}); create "
                "one with 'timbre-restore export'."
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
        """Read and open a file. Raises `ModelError` when it is missing, damaged, or not this project's."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise ModelError(f"{path}: can't be read ({exc.strerror}); give the path of an exported model.") from exc
        # An unknown graph may fail in as many ways as there are operators, when it is opened or when it runs.
        try:
            session = onnxruntime.InferenceSession(
                content,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # otherwise the package prints to stdout, where the audio may go
            )
            model = cls(session, str(path))
            model._try_out()
        except ModelError:
            raise
        except Exception as exc:
            raise ModelError(
                f"{path}: is not a model that ONNX Runtime can open and run "
                f"({' '.join(str(exc).split())[:200] or type(exc).__name__}); export or copy it again."
            ) from exc
        return model

    def _fact(self, key: str, known: tuple[str, ...]) -> str:
        value: str = self.metadata[key]
        if value not in known:
            raise ModelError(
                f"{self.name}: says {key} is '{value[:40]}', but this version runs {' or '.join(known)}; re-export it."
            )
        return value

    def _refuse_another_graph(self) -> None:
        """Raise `ModelError` if the graph's inputs and outputs are not what its own metadata promises."""
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
            f"{self.name}: its graph does not have the inputs, outputs and states that its metadata promises (see "
            f"{', '.join(wrong)}); export it again."
        )

    def _try_out(self) -> None:
        """Run silence through it, one hop and then two. Raises `ModelError` if a shape is not what it should be."""
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
        """The initial states, by the names of the graph's inputs."""
        return {name: np.zeros(shape, dtype=np.float32) for name, shape in self._states.items()}

    def run(
        self, chunk: dict[str, FloatArray], state: dict[str, FloatArray]
    ) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Named outputs of one call, and the states after it. Audio in `chunk` should have passed through `normal`.

        Raises `ModelError` if the model returns NaN or infinity; for valid audio an intact model never does.
        """
        values = self.session.run(self._wanted, chunk | state)
        if not np.isfinite(values[self._result]).all():
            raise ModelError(
                f"{self.name}: returned NaN or infinity instead of sound, so its weights are damaged; export it again "
                "from a healthy checkpoint."
            )
        count = len(self._outputs)
        return dict(zip(self._outputs, values, strict=False)), dict(zip(self._states, values[count:], strict=True))


def normal(samples: FloatArray) -> FloatArray:
    """A copy in C order without values far below any sound: denormal numbers are up to 20 times slower.

    Adding and subtracting a much larger number rounds them away, and hardly anything else.
    """
    kept = np.empty(samples.shape, np.float32)
    np.add(samples, FAINTEST, out=kept)
    kept -= FAINTEST
    return kept
