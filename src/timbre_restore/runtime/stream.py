"""Live restoring behind a black box, in chunks of any length."""

from __future__ import annotations

import numpy as np

from timbre_restore.audio import HOP_SAMPLES, INVALID_SAMPLES, FloatArray, is_valid, replace_invalid
from timbre_restore.errors import ModelError
from timbre_restore.runtime.core import make_core
from timbre_restore.runtime.model import Model

STRETCH_HOPS = 500
"""Maximum number of hops per model call: memory stays flat however long a chunk is."""


class Buffer:
    """Samples waiting for their hop to be complete."""

    def __init__(self, held: FloatArray | None = None) -> None:
        self._held = np.zeros(0, np.float32) if held is None else held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def hops(self) -> int:
        """Number of complete hops waiting."""
        return len(self._held) // HOP_SAMPLES

    def add(self, samples: FloatArray) -> None:
        """Append."""
        self._held = np.concatenate([self._held, samples])

    def rest(self) -> FloatArray:
        """Take everything that is waiting."""
        taken, self._held = self._held, self._held[:0]
        return taken

    def take(self, hops: int) -> FloatArray:
        """Take the first hops `[hops, 480]`."""
        taken, self._held = self._held[: hops * HOP_SAMPLES], self._held[hops * HOP_SAMPLES :]
        return taken.reshape(hops, HOP_SAMPLES)


class Stream:
    """Restores audio as it arrives. A stream is not thread-safe; many streams may share one model.

    Sample n of `noisy` is `noisy_lead_samples` later than sample n of the audio passed with it. What is held back is
    `held_samples`, plus the samples that do not fill a hop of 480.
    """

    def __init__(self, model: Model, noisy_lead_samples: int, strength: float) -> None:
        if noisy_lead_samples < 0:
            raise ModelError(
                f"noisy_lead_samples is {noisy_lead_samples}; expected 0 or more, the samples by which noisy is later."
            )
        self._model, self._lead = model, noisy_lead_samples
        self.strength = strength
        self.reset()

    @property
    def strength(self) -> float:
        """From 0 (the suppressor alone) to 1. May be set at any time; the change is spread over 10 ms."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = checked_strength(value)

    @property
    def held_samples(self) -> int:
        """Samples held back after whole hops: the model's latency, plus the wait for noisy if it is not ahead."""
        missing = max(0, self._core.ahead * HOP_SAMPLES - self._lead)
        return (self._core.late + -(-missing // HOP_SAMPLES)) * HOP_SAMPLES

    def reset(self) -> None:
        """Return to the initial state."""
        self._core = make_core(self._model, self._strength)
        self._audio, self._noisy = Buffer(), Buffer(np.zeros(self._lead, np.float32))
        self._received = self._returned = 0
        self._primed = self._ended = False
        self._to_drop = self._core.late * HOP_SAMPLES
        self.repaired_samples = 0
        """Invalid samples (NaN, infinite, beyond ±65536) that were replaced with silence."""

    def push(self, audio: FloatArray, noisy: FloatArray | None = None) -> FloatArray:
        """Take the next samples `[T]` of both and return what is ready, which may be nothing.

        Samples that are NaN, infinite or beyond ±65536 are replaced with silence, so they have no lasting effect.
        Raises `ModelError` after `flush`, on a wrong type or shape, or if noisy is missing, unwanted or of another
        length.
        """
        if self._ended:
            raise ModelError("push after flush: the stream has ended; call reset() to start again.")
        audio = self._repaired(signal(audio, "audio"))
        if self._model.needs_noisy != (noisy is not None):
            want = "is conditioned on noisy; pass it too" if self._model.needs_noisy else "takes no noisy; leave it out"
            raise ModelError(f"{self._model.name}: {want}.")
        if noisy is not None:
            noisy = self._repaired(signal(noisy, "noisy"))
            if len(noisy) != len(audio):
                raise ModelError(f"noisy has {len(noisy)} samples and audio {len(audio)}; a push needs equally many.")
            self._noisy.add(noisy)
        self._received += len(audio)
        self._audio.add(audio)
        return self._advance()

    def flush(self) -> FloatArray:
        """Return the rest, as if zeros followed, and end the stream: in total, as many samples come out as went in."""
        if self._ended:
            raise ModelError("flush after flush: the stream has ended; call reset() to start again.")
        self._ended = True
        before = self._returned
        self._audio.add(np.zeros(-len(self._audio) % HOP_SAMPLES + self._core.late * HOP_SAMPLES, np.float32))
        if self._model.needs_noisy:
            hops = self._audio.hops + (0 if self._primed else self._core.ahead)
            self._noisy.add(np.zeros(max(0, hops * HOP_SAMPLES - len(self._noisy)), np.float32))
        return self._advance()[: self._received - before]

    def _advance(self) -> FloatArray:
        """Everything that is ready."""
        core, parts = self._core, []
        if self._model.needs_noisy and not self._primed:
            if self._noisy.hops < core.ahead:
                return np.zeros(0, np.float32)
            core.prime(self._noisy.take(core.ahead))
        self._primed = True
        while True:
            ready = min(self._audio.hops, self._noisy.hops) if self._model.needs_noisy else self._audio.hops
            ready = min(ready, STRETCH_HOPS)
            if not ready:
                break
            noisy = self._noisy.take(ready) if self._model.needs_noisy else None
            parts.append(core.step(self._audio.take(ready), noisy, self._strength).reshape(-1))
        out = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        dropped = min(self._to_drop, len(out))
        self._to_drop -= dropped
        self._returned += len(out) - dropped
        return out[dropped:]

    def _repaired(self, samples: FloatArray) -> FloatArray:
        valid, repaired = replace_invalid(samples)
        self.repaired_samples += repaired
        return valid


def checked_strength(value: float) -> float:
    """The strength as a float. Raises `ModelError` outside [0, 1]."""
    if not 0.0 <= float(value) <= 1.0:
        raise ModelError(f"strength is {value}; expected a number from 0 (the suppressor alone) to 1.")
    return float(value)


def signal(samples: FloatArray, name: str) -> FloatArray:
    """The samples. Raises `ModelError` unless they are a float32 array `[T]`."""
    if not isinstance(samples, np.ndarray) or samples.ndim != 1 or samples.dtype != np.float32:
        got = f"{samples.dtype} of shape {samples.shape}" if isinstance(samples, np.ndarray) else type(samples).__name__
        raise ModelError(f"{name} is {got}; expected a float32 array [T] at 48 kHz.")
    return samples


def whole_signal(samples: FloatArray, name: str) -> FloatArray:
    """The samples of a whole signal. Raises `ModelError` like `signal`, and for invalid samples."""
    if not is_valid(signal(samples, name)).all():
        raise ModelError(f"{name} holds {INVALID_SAMPLES}; clean it first, or push it through a stream.")
    return samples
