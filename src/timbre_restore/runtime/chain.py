"""Suppressor and restorer in one process: noisy in, restored out, and nothing added to the suppressor's own delay.

A model on spectra works on the suppressor's frames before their only synthesis; a model on waves takes each hop as the
suppressor hands it over, beside the noisy hop that came in last. Where the suppressor takes a hop for silence and shows
it to nothing, a model on spectra does not see it either.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from timbre_restore.audio import without_no_sound
from timbre_restore.errors import ModelError, SuppressorError
from timbre_restore.runtime.core import Spectra, WaveCore
from timbre_restore.runtime.model import SPECTRUM, FloatArray, Model
from timbre_restore.runtime.restorer import Restorer
from timbre_restore.runtime.stream import STRETCH_HOPS, Buffer, checked_strength, signal, whole_signal
from timbre_restore.suppressors import Suppressor
from timbre_restore.suppressors.base import FrameSource, HopSuppressor, Suppressed


class Chain:
    """Suppressor, then restorer. Signals are float32 `[T]`, 48 kHz.

    `delay_samples` is the suppressor's own: a stream's sample n belongs to sample n - delay of what went in.
    `added_latency_samples` is what the restorer adds to it. Raises `ModelError` for a model of another suppressor.
    """

    def __init__(self, suppressor: Suppressor, restorer: Restorer) -> None:
        if not restorer.suits(suppressor.name):
            raise ModelError(
                f"{restorer.name}: was trained for the suppressor '{restorer.metadata['suppressor']}', not "
                f"'{suppressor.name}'; take that suppressor, or a model trained for this one."
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
        """The restored signal, as long as `noisy` and aligned with it. None takes the model's own strength.

        As in a stream, and in DeepFilterNet3's release, the last 30 ms before digital silence come out at its end;
        `restore_path` puts them in their place.
        """
        amount = self.restorer.default_strength if strength is None else checked_strength(strength)
        if self._hop_wise is None:
            return self.restorer(self.suppressor(noisy), noisy, strength=amount)
        whole_signal(noisy, "noisy")
        stream = self.stream(amount)
        delayed = stream.push(self._hop_wise.padded(noisy))
        return delayed[self.delay_samples : self.delay_samples + len(noisy)]

    def stream(self, strength: float | None = None) -> ChainStream:
        """A stream of its own. Raises `SuppressorError` for a suppressor that only takes whole signals."""
        if self._hop_wise is None or self._hop_wise.frames is None:
            raise SuppressorError(
                f"{self.suppressor.build}: takes whole signals here and can't be streamed, as suppressor.name=dfn3 "
                "with suppressor.runtime=graphs can; behind another program, push what that gives into a restorer's "
                "own stream."
            )
        amount = self.restorer.default_strength if strength is None else strength
        return ChainStream(self._hop_wise.frames, self._hop_wise, self.restorer.model, amount)


class ChainStream:
    """A chain while sound arrives: after each hop it has given as many samples as the suppressor alone would have."""

    def __init__(self, source: FrameSource, suppressor: HopSuppressor, model: Model, strength: float) -> None:
        self._source, self._suppressor, self._model = source, suppressor, model
        self.strength = strength
        self.reset()

    @property
    def strength(self) -> float:
        """From 0, the suppressor alone, to 1. May be set at any time; the change is spread over 10 ms."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = checked_strength(value)

    def reset(self) -> None:
        """Begin anew, as after making the stream."""
        self._state = self._source.begin()
        self._waiting = Buffer()
        self._received = self._returned = 0
        self._ended = False
        self._restoring = _make_part(self._model, self._strength)
        self.repaired_samples = 0
        """Samples that were no sound (NaN, infinite, beyond ±65536), and were taken for silence."""

    def push(self, noisy: FloatArray) -> FloatArray:
        """Take the next samples `[T]`, give every hop that is whole, late by the suppressor's delay.

        Samples that are NaN, infinite or beyond ±65536 are taken for silence. Raises `ModelError` after `flush`, and on
        another type or shape.
        """
        if self._ended:
            raise ModelError("push after flush: the stream has ended; call reset() to begin another.")
        noisy, repaired = without_no_sound(signal(noisy, "noisy"))
        self.repaired_samples += repaired
        self._received += len(noisy)
        self._waiting.add(noisy)
        return self._advance()

    def flush(self) -> FloatArray:
        """The rest: in all, as many samples come out as went in, and the delay's more. Ends the stream."""
        if self._ended:
            raise ModelError("flush after flush: the stream has ended; call reset() to begin another.")
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
    """The restorer's half of a chain."""

    def step(self, suppressed: Suppressed, noisy: FloatArray, strength: float) -> FloatArray:
        """Restored hops `[N, 480]` of a stretch that the suppressor has just given."""
        ...


def _make_part(model: Model, strength: float) -> _Part:
    return _OnFrames(model) if model.domain == SPECTRUM else _OnWaves(model, strength)


class _OnFrames:
    def __init__(self, model: Model) -> None:
        self._model, self._spectra = model, Spectra(model)

    def step(self, suppressed: Suppressed, noisy: FloatArray, strength: float) -> FloatArray:
        out = suppressed.audio.copy()
        if suppressed.heard.any():
            # A plain slice copies nothing, and nearly always all is heard.
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
        if not self._primed:  # what comes out of the suppressor by now belongs to nothing
            first = min(len(noisy), self._core.ahead - self._early.hops)
            self._early.add(noisy[:first].reshape(-1))
            if self._early.hops == self._core.ahead:
                self._core.prime(self._early.take(self._core.ahead))
                self._primed = True
        if first < len(noisy):
            beside = noisy[first:] if self._needs_noisy else None
            out[first:] = self._core.step(out[first:], beside, strength)
        return out
