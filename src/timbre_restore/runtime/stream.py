"""A restorer behind a black box while sound arrives, in chunks of any length."""

from __future__ import annotations

import numpy as np

from timbre_restore.audio import HOP_SAMPLES, NO_SOUND, is_sound, without_no_sound
from timbre_restore.errors import ModelError
from timbre_restore.runtime.core import make_core
from timbre_restore.runtime.model import FloatArray, Model

STRETCH_HOPS = 500
"""At most so many hops per call of the model: memory stays flat however long a chunk is."""


class Buffer:
    """Samples that wait for their hop to be whole."""

    def __init__(self, held: FloatArray | None = None) -> None:
        self._held = np.zeros(0, np.float32) if held is None else held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def hops(self) -> int:
        """Whole hops that wait."""
        return len(self._held) // HOP_SAMPLES

    def add(self, samples: FloatArray) -> None:
        """Append."""
        self._held = np.concatenate([self._held, samples])

    def rest(self) -> FloatArray:
        """All that waits, and no longer held."""
        taken, self._held = self._held, self._held[:0]
        return taken

    def take(self, hops: int) -> FloatArray:
        """The first hops `[hops, 480]`, and no longer held."""
        taken, self._held = self._held[: hops * HOP_SAMPLES], self._held[hops * HOP_SAMPLES :]
        return taken.reshape(hops, HOP_SAMPLES)


class Stream:
    """Restores while sound arrives. Not for several threads at once; many streams may share one model.

    Sample n of `noisy` is `noisy_lead_samples` later than sample n of the audio beside it. All that is held back is
    `held_samples`, and what does not fill a hop of 480.
    """

    def __init__(self, model: Model, noisy_lead_samples: int, strength: float) -> None:
        if noisy_lead_samples < 0:
            raise ModelError(
                f"noisy_lead_samples is {noisy_lead_samples}; expected 0 or more: how much later noisy is."
            )
        self._model, self._lead = model, noisy_lead_samples
        self.strength = strength
        self.reset()

    @property
    def strength(self) -> float:
        """From 0, the suppressor alone, to 1. May be set at any time; the change is spread over 10 ms."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = checked_strength(value)

    @property
    def held_samples(self) -> int:
        """Samples that a push of whole hops still holds back: the model's latency, or what noisy has to come first."""
        missing = max(0, self._core.ahead * HOP_SAMPLES - self._lead)
        return (self._core.late + -(-missing // HOP_SAMPLES)) * HOP_SAMPLES

    def reset(self) -> None:
        """Begin anew, as after making the stream."""
        self._core = make_core(self._model, self._strength)
        self._audio, self._noisy = Buffer(), Buffer(np.zeros(self._lead, np.float32))
        self._received = self._returned = 0
        self._primed = self._ended = False
        self._to_drop = self._core.late * HOP_SAMPLES
        self.repaired_samples = 0
        """Samples that were no sound (NaN, infinite, beyond ±65536), and were taken for silence."""

    def push(self, audio: FloatArray, noisy: FloatArray | None = None) -> FloatArray:
        """Take the next samples `[T]` of both, give what is ready, which may be nothing.

        Samples that are NaN, infinite or beyond ±65536 are taken for silence: nothing lasting comes of them. Raises
        `ModelError` after `flush`, on another type or shape, or where noisy is missing, unwanted or of another length.
        """
        if self._ended:
            raise ModelError("push after flush: the stream has ended; call reset() to begin another.")
        audio = self._mended(signal(audio, "audio"))
        if self._model.needs_noisy != (noisy is not None):
            want = "is conditioned on noisy: pass it" if self._model.needs_noisy else "takes no noisy: leave it out"
            raise ModelError(f"{self._model.name}: {want}.")
        if noisy is not None:
            noisy = self._mended(signal(noisy, "noisy"))
            if len(noisy) != len(audio):
                raise ModelError(f"noisy has {len(noisy)} samples and audio {len(audio)}; expected as many in a push.")
            self._noisy.add(noisy)
        self._received += len(audio)
        self._audio.add(audio)
        return self._advance()

    def flush(self) -> FloatArray:
        """What is still held, as if zeros followed; in all, as many samples come out as went in. Ends the stream."""
        if self._ended:
            raise ModelError("flush after flush: the stream has ended; call reset() to begin another.")
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

    def _mended(self, samples: FloatArray) -> FloatArray:
        mended, repaired = without_no_sound(samples)
        self.repaired_samples += repaired
        return mended


def checked_strength(value: float) -> float:
    """The strength as a float. Raises `ModelError` outside of [0, 1]."""
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
    """The samples of a signal that is there as a whole. Raises `ModelError` like `signal`, and for what is no sound."""
    if not is_sound(signal(samples, name)).all():
        raise ModelError(f"{name} holds {NO_SOUND}; clean it first, or push it through a stream.")
    return samples
