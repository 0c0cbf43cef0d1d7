"""The exported model on whole signals and streams, behind any suppressor.

Offline use is the stream's own code on one long chunk, processed in stretches: beyond the signal itself, memory does
not grow with the length, and the result does not depend on the stretch.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from timbre_restore.audio import HOP_SAMPLES, FloatArray
from timbre_restore.errors import ModelError
from timbre_restore.runtime.core import make_core
from timbre_restore.runtime.model import Model
from timbre_restore.runtime.stream import STRETCH_HOPS, Stream, checked_strength, whole_signal

DEFAULT_VOICE = "small"
"""The packaged voice used when none is named; it is also called `default`."""
SUPPRESSED_VOICE = "suppressed"
"""The packaged voice for recordings of which only the suppressor's output exists."""


class Restorer:
    """Gives a suppressed voice back what was taken. Signals are float32 `[T]`, 48 kHz, full scale ±1.

    `latency_samples` is the model's latency behind a black box (in a `Chain` it adds none); `lookahead_samples` is how
    far beyond the sample it restores it looks at noisy: the suppressor's own delay, so behind the suppressor it costs
    nothing.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name, self.metadata = model.name, model.metadata
        self.sample_rate_hz = model.sample_rate_hz
        self.hop_samples = model.hop_samples
        self.latency_samples = model.latency_samples
        self.lookahead_samples = model.lookahead_samples
        self.needs_noisy = model.needs_noisy
        self.default_strength = _default_strength(model)

    @classmethod
    def load(cls, path_or_name: Path | str | None = None, *, threads: int = 1) -> Restorer:
        """Open an exported file, or a packaged voice by name; None opens the default voice. `threads` for inference."""
        return cls(Model.open(_find(path_or_name), threads))

    def __call__(
        self, audio: FloatArray, noisy: FloatArray | None = None, *, strength: float | None = None
    ) -> FloatArray:
        """The restored signal, as long as `audio` and aligned with it.

        Sample n of `noisy` is the same instant as sample n of `audio`. `noisy` may be longer (the rest is used as far
        as the model looks ahead); zeros are assumed after its end. `strength` mixes from 0, the suppressor's output
        unchanged, to 1; None uses the model's own default. Raises `ModelError` on a missing or unsuitable signal.
        """
        amount = self.default_strength if strength is None else checked_strength(strength)
        audio = whole_signal(audio, "audio")
        if self.needs_noisy:
            if noisy is None:
                raise ModelError(
                    f"{self.name}: is conditioned on the noisy signal too, but none was given; pass noisy, or use a "
                    "model exported with model.conditioning=degraded."
                )
            noisy = whole_signal(noisy, "noisy")
            if len(noisy) < len(audio):
                raise ModelError(
                    f"noisy has {len(noisy)} samples and audio {len(audio)}; noisy needs at least as many, from the "
                    "same instant on."
                )
        if amount == 0.0 or len(audio) == 0:
            return audio.copy()
        core = make_core(self.model, amount)
        hops = -(-len(audio) // HOP_SAMPLES) + core.late
        degraded = fitted(audio, hops)
        given = None if noisy is None or not self.needs_noisy else fitted(noisy, hops + core.ahead)
        if given is not None:
            core.prime(given[: core.ahead])
        parts = []
        for start in range(0, hops, STRETCH_HOPS):
            stop = min(start + STRETCH_HOPS, hops)
            beside = None if given is None else given[start + core.ahead : stop + core.ahead]
            parts.append(core.step(degraded[start:stop], beside, amount))
        late = core.late * HOP_SAMPLES
        return np.concatenate(parts).reshape(-1)[late : late + len(audio)]

    def suits(self, suppressor: str) -> bool:
        """Whether the model was trained behind the named suppressor, or does not say which it was trained behind."""
        named = [name.strip() for name in self.metadata.get("suppressor", "").split(",")]
        return suppressor in named or named == [""]

    def stream(self, noisy_lead_samples: int = 0, strength: float | None = None) -> Stream:
        """A new stream: chunks in, samples out. Sample n of noisy is `noisy_lead_samples` later than that of audio."""
        return Stream(self.model, noisy_lead_samples, self.default_strength if strength is None else strength)


def packaged_voices() -> dict[str, Path]:
    """The voices that come with the package, by name."""
    return {path.stem: path for path in sorted(_voices().glob("*.onnx"))}


def packaged_weights() -> dict[str, Path]:
    """Checkpoints with the weights of packaged voices, by name: the starting points for fine-tuning."""
    return {path.parent.name: path.parent for path in sorted(_voices().glob("*/checkpoint.json"))}


def _voices() -> Path:
    return Path(str(resources.files("timbre_restore.runtime"))) / "voices"


def _default_strength(model: Model) -> float:
    value = model.metadata.get("strength", "1.0")
    try:
        return checked_strength(float(value))
    except (ValueError, ModelError) as exc:
        raise ModelError(
            f"{model.name}: says strength is '{value}', but a number from 0 to 1 was expected; export it again."
        ) from exc


def _find(path_or_name: Path | str | None) -> Path:
    voices = packaged_voices()
    if path_or_name is None or (str(path_or_name) == "default" and not Path("default").is_file()):
        if DEFAULT_VOICE not in voices:
            raise ModelError("this installation has no packaged voice; name a file (--model), or reinstall it.")
        return voices[DEFAULT_VOICE]
    path = Path(path_or_name)
    if path.is_file() or path.name != str(path_or_name):
        return path
    if path.name not in voices:
        raise ModelError(
            f"{path}: no such file, and no packaged voice has that name ({', '.join(voices)}); give one of these, or "
            "the path of an exported model."
        )
    return voices[path.name]


def fitted(samples: FloatArray, hops: int) -> FloatArray:
    """The first hops `[hops, 480]`, padded with zeros if there are fewer."""
    length = hops * HOP_SAMPLES
    whole = samples[:length] if len(samples) >= length else np.pad(samples, (0, length - len(samples)))
    return whole.reshape(hops, HOP_SAMPLES)
