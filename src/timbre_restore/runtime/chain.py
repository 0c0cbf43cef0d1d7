"""Suppressor and restorer in one process: noisy in, restored out, with no delay added to the suppressor's own.

A spectrum model works on the suppressor's frames before their only synthesis; a waveform model takes each hop as the
suppressor returns it, together with the newest noisy hop. When the suppressor treats a hop as silence and does not
process it, a spectrum model does not see it either.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from timbre_restore.audio import FloatArray, replace_invalid
from timbre_restore.errors import ModelError, SuppressorError
from timbre_restore.runtime.core import Spectra, WaveCore
from timbre_restore.runtime.model import SPECTRUM, Model
from timbre_restore.runtime.restorer import Restorer
from timbre_restore.runtime.stream import STRETCH_HOPS, Buffer, checked_strength, signal, whole_signal
from timbre_restore.suppressors import Suppressor
from timbre_restore.suppressors.base import FrameSource, HopSuppressor, Suppressed


class Chain:
    """Suppressor, then restorer. Signals are float32 `[T]`, 48 kHz.

    `delay_samples` is the suppressor's own: a stream's output sample n belongs to input sample n - delay.
    `added_latency_samples` is what the restorer adds to it. Raises `ModelError` for a model trained for another
    suppressor.
    """

    def __init__(self, suppressor: Suppressor, restorer: Restorer) -> None:
        if not restorer.suits(suppressor.name):
            raise ModelError(
                f"{restorer.name}: was trained for the suppressor '{restorer.metadata['suppressor']}', not "
                f"'{suppressor.name}'; use that suppressor, or a model trained for this one."
            )
        self.suppressor, self.restorer = suppressor, restorer
        self._hop_wise = suppressor if isinstance(suppressor, HopSuppressor) and suppressor.frames else None
        self.delay_samples = suppressor.latency_samples
        self.added_latency_samples = 0 if self._hop_wise else restorer.latency_samples

    @property
    def streams(self) -> bool:
        """Whether the suppressor can be streamed here."""
        return self._hop_wise is not None

    def __call__(self, noisy: FloatArray, *, strength: float | None = None) -> FloatArray:
        """The restored signal, as long as `noisy` and aligned with it. `strength` None uses the model's own.

        As in a stream, and in DeepFilterNet3's release, the last 30 ms before digital silence come out at its end;
        `restore_path` puts them where they belong.
        """
        amount = self.restorer.default_strength if strength is None else checked_strength(strength)
        if self._hop_wise is None:
            return self.restorer(self.suppressor(noisy), noisy, strength=amount)
        whole_signal(noisy, "noisy")
        stream = self.stream(amount)
        delayed = stream.push(self._hop_wise.padded(noisy))
        return delayed[self.delay_samples : self.delay_samples + len(noisy)]

    def stream(self, strength: float | None = None) -> ChainStream:
        """A new stream. Raises `SuppressorError` if the suppressor only takes whole signals."""
        if self._hop_wise is None or self._hop_wise.frames is None:
            raise SuppressorError(
                f"{self.suppressor.build}: takes only whole signals here and can't be streamed; use "
                "suppressor.name=dfn3 with suppressor.runtime=graphs. If another program does the suppression, push "
                "its output into Restorer.stream() instead."
            )
        amount = self.restorer.default_strength if strength is None else strength
        return ChainStream(self._hop_wise.frames, self._hop_wise, self.restorer.model, amount)


class ChainStream:
    """A chain on live audio: after each hop it has returned as many samples as the suppressor alone would have."""

    def __init__(self, source: FrameSource, suppressor: HopSuppressor, model: Model, strength: float) -> None:
        self._source, self._suppressor, self._model = source, suppressor, model
        self.strength = strength
        self.reset()

    @property
    def strength(self) -> float:
        """From 0 (the suppressor alone) to 1. May be set at any time; the change is spread over 10 ms."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = checked_strength(value)

    def reset(self) -> None:
        """Return to the initial state."""
        self._state = self._source.begin()
        self._waiting = Buffer()
        self._received = self._returned = 0
        self._ended = False
        self._restoring = _make_part(self._model, self._strength)
        self.repaired_samples = 0
        """Invalid samples (NaN, infinite, beyond ±65536) that were replaced with silence."""

    def push(self, noisy: FloatArray) -> FloatArray:
        """Take the next samples `[T]` and return every complete hop, delayed by the suppressor's delay.

        Samples that are NaN, infinite or beyond ±65536 are replaced with silence. Raises `ModelError` after `flush`,
        and on a wrong type or shape.
        """
        if self._ended:
            raise ModelError("push after flush: the stream has ended; call reset() to start again.")
        noisy, repaired = replace_invalid(signal(noisy, "noisy"))
        self.repaired_samples += repaired
        self._received += len(noisy)
        self._waiting.add(noisy)
        return self._advance()

    def flush(self) -> FloatArray:
        """Return the rest and end the stream: in total, the delay's samples more come out than went in."""
        if self._ended:
            raise ModelError("flush after flush: the stream has ended; call reset() to start again.")
        self._ended = True
        late = self._suppressor.latency_samples
        whole = self._suppressor.padded(self._waiting.rest())
        before = self._returned
        self._waiting.add(whole)
        return self._advance()[: self._received + late - before]

    def _advance(self) -> FloatArray:
        parts = []
        while hops := min(self._waiting.hops, STRETCH_HOPS):
            parts.append(self._step(self._waiting.take(hops)).reshape(-1))
        out = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        self._returned += len(out)
        return out

    def _step(self, noisy: FloatArray) -> FloatArray:
        suppressed, self._state = self._source.stream(noisy, self._state)
        return self._restoring.step(suppressed, noisy, self._strength)


class _Part(Protocol):
    """The restorer's part of a chain."""

    def step(self, suppressed: Suppressed, noisy: FloatArray, strength: float) -> FloatArray:
        """Restored hops `[N, 480]` for a stretch that the suppressor has just returned."""
        ...


def _make_part(model: Model, strength: float) -> _Part:
    return _OnFrames(model) if model.domain == SPECTRUM else _OnWaves(model, strength)


class _OnFrames:
    def __init__(self, model: Model) -> None:
        self._model, self._spectra = model, Spectra(model)

    def step(self, suppressed: Suppressed, noisy: FloatArray, strength: float) -> FloatArray:
        out = suppressed.audio.copy()
        if suppressed.heard.any():
            # A plain slice copies nothing, and nearly always every hop is heard.
            heard = slice(None) if suppressed.heard.all() else suppressed.heard
            frames = (suppressed.spectra, suppressed.newest_spectra)[: 2 if self._model.needs_noisy else 1]
            spectra = np.stack([given[heard] for given in frames])
            hints = np.concatenate([suppressed.gains, suppressed.local_snr_db[:, None]], axis=1)[heard]
            out[heard] += self._spectra.step(spectra, hints, strength)
        return out


class _OnWaves:
    def __init__(self, model: Model, strength: float) -> None:
        self._needs_noisy, self._core = model.needs_noisy, WaveCore(model, strength)
        self._early = Buffer()
        self._primed = self._core.ahead == 0

    def step(self, suppressed: Suppressed, noisy: FloatArray, strength: float) -> FloatArray:
        out, first = suppressed.audio.copy(), 0
        if not self._primed:  # the suppressor's output so far precedes the signal
            first = min(len(noisy), self._core.ahead - self._early.hops)
            self._early.add(noisy[:first].reshape(-1))
            if self._early.hops == self._core.ahead:
                self._core.prime(self._early.take(self._core.ahead))
                self._primed = True
        if first < len(noisy):
            beside = noisy[first:] if self._needs_noisy else None
            out[first:] = self._core.step(out[first:], beside, strength)
        return out
