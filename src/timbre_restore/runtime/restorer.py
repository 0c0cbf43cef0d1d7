"""The exported model over whole signals.

A long signal is worked through in stretches with the state carried over, so memory does not grow with its length
beyond the signal itself, and the result does not depend on the stretch.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from timbre_restore.errors import ModelError

FloatArray = NDArray[np.float32]

METADATA_PREFIX = "timbre_restore."
STRETCH_HOPS = 500
REQUIRED = ("format", "sample_rate_hz", "hop_samples", "latency_samples", "lookahead_samples", "conditioning")


class Restorer:
    """Gives a suppressed voice back what was taken. Signals are float32 `[T]`, 48 kHz, full scale ±1.

    `latency_samples` is the delay that the model adds; `lookahead_samples` is how much later noisy it looks at than
    the degraded sample it restores (the suppressor's own delay, so it costs nothing behind it).
    """

    def __init__(self, session: Any, name: str) -> None:
        self._session = session
        properties = session.get_modelmeta().custom_metadata_map
        prefix = len(METADATA_PREFIX)
        self.metadata = {k[prefix:]: v for k, v in properties.items() if k.startswith(METADATA_PREFIX)}
        missing = [key for key in REQUIRED if key not in self.metadata]
        if missing:
            raise ModelError(
                f"{name}: is an ONNX file but not one of this project's (it lacks {', '.join(missing)}); make one with "
                "'timbre-restore export'."
            )
        if self.metadata["format"] != "1":
            raise ModelError(f"{name}: has format {self.metadata['format']}, this version reads 1; update the package.")
        self.name = name
        self.sample_rate_hz = int(self.metadata["sample_rate_hz"])
        self.hop_samples = int(self.metadata["hop_samples"])
        self.latency_samples = int(self.metadata["latency_samples"])
        self.lookahead_samples = int(self.metadata["lookahead_samples"])
        self.needs_noisy = self.metadata["conditioning"] != "degraded"
        self.default_strength = float(self.metadata.get("strength", "1.0"))
        self._states = {i.name: i.shape for i in session.get_inputs() if i.name.startswith("state_")}

    @classmethod
    def load(cls, path: Path | str | None = None, *, threads: int = 1) -> Restorer:
        """Open an exported model; the packaged one when `path` is None. One inference thread by default."""
        file = Path(path) if path is not None else packaged_model()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            content = file.read_bytes()
        except OSError as exc:
            raise ModelError(f"{file}: can't be read ({exc.strerror}); give an exported model's path.") from exc
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as exc:
            raise ModelError(
                f"{file}: is not a model that ONNX Runtime can open ({' '.join(str(exc).split())[:200]}); export it "
                "again or copy it again."
            ) from exc
        return cls(session, str(file))

    def __call__(
        self, degraded: FloatArray, noisy: FloatArray | None = None, *, strength: float | None = None
    ) -> FloatArray:
        """The restored signal, as long as `degraded` and aligned with it.

        Sample n of `noisy` is the same instant as sample n of `degraded`; it may be longer (what comes later is used as
        far as the model looks ahead), and zeros follow where it ends. `strength` mixes from 0, the suppressor's output
        unchanged, to 1; None takes the model's own default. Raises `ModelError` on a missing or unfit signal.
        """
        amount = self.default_strength if strength is None else float(strength)
        if not 0.0 <= amount <= 1.0:
            raise ModelError(f"strength is {amount}; expected a number from 0 (the suppressor alone) to 1.")
        degraded = _signal(degraded, "degraded")
        if self.needs_noisy:
            if noisy is None:
                raise ModelError(
                    f"{self.name}: is conditioned on the noisy signal too, and none was given; pass noisy, or use a "
                    "model exported with model.conditioning=degraded."
                )
            noisy = _signal(noisy, "noisy")
            if len(noisy) < len(degraded):
                raise ModelError(
                    f"noisy has {len(noisy)} samples and degraded {len(degraded)}; expected at least as many, from the "
                    "same instant."
                )
        if amount == 0.0 or len(degraded) == 0:
            return degraded.copy()
        restored = self._run(degraded, noisy if self.needs_noisy else None)
        return degraded + np.float32(amount) * (restored - degraded)

    def initial_state(self) -> dict[str, FloatArray]:
        """The states before any sound, by the names of the model's inputs."""
        return {name: np.zeros(shape, dtype=np.float32) for name, shape in self._states.items()}

    def _run(self, degraded: FloatArray, noisy: FloatArray | None) -> FloatArray:
        hop, ahead, length = self.hop_samples, self.lookahead_samples, len(degraded)
        whole = -(-length // hop) * hop
        degraded = _extended(degraded, whole)
        given = None if noisy is None else _extended(noisy, whole + ahead)
        state, out = self.initial_state(), np.empty(whole, dtype=np.float32)
        stretch = STRETCH_HOPS * hop
        for start in range(0, whole, stretch):
            stop = min(start + stretch, whole)
            feed = {"degraded": degraded[None, None, start:stop], **state}
            if given is not None:
                feed["noisy"] = given[None, None, start : stop + ahead]
            restored, *after = self._session.run(None, feed)
            state = dict(zip(state, after, strict=True))
            out[start:stop] = restored[0, 0]
        return out[:length]


def packaged_model() -> Path:
    """The model that comes with the package."""
    path = Path(str(resources.files("timbre_restore.runtime"))) / "voices" / "default.onnx"
    if not path.is_file():
        raise ModelError("this installation holds no packaged model; give one with --model, or install it again.")
    return path


def _signal(samples: FloatArray, name: str) -> FloatArray:
    if not isinstance(samples, np.ndarray) or samples.ndim != 1 or samples.dtype != np.float32:
        got = f"{samples.dtype} of shape {samples.shape}" if isinstance(samples, np.ndarray) else type(samples).__name__
        raise ModelError(f"{name} is {got}; expected a float32 array [T] at 48 kHz.")
    if not np.isfinite(samples).all():
        raise ModelError(f"{name} holds NaN or infinite samples; clean it first.")
    return samples


def _extended(samples: FloatArray, length: int) -> FloatArray:
    """The first `length` samples, zeros where there are fewer."""
    return samples[:length] if len(samples) >= length else np.pad(samples, (0, length - len(samples)))
