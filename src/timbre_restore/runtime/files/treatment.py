"""The processing of a channel between reading and writing, in pieces of any length.

Every way keeps the time base: joined, the output is as long as the input, and sample n is the same instant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from timbre_restore.audio import HOP_SAMPLES, FloatArray, Resampler
from timbre_restore.runtime.chain import Chain
from timbre_restore.runtime.restorer import Restorer
from timbre_restore.runtime.stream import checked_strength
from timbre_restore.suppressors import SuppressorSettings, load_suppressor
from timbre_restore.suppressors.base import FLUSH, is_heard

Suppress = Callable[[FloatArray], FloatArray]


class Way(Protocol):
    """The processing of one channel, float32 `[T]` in and out."""

    def push(self, samples: FloatArray) -> FloatArray:
        """Take the next samples and return what is ready, which may be nothing."""
        ...

    def flush(self) -> FloatArray:
        """Return the rest and end the way."""
        ...


@dataclass(frozen=True)
class Treatment:
    """How signals are restored: with which restorer, behind which suppressor, how strongly.

    `suppress` is a `Chain` of this restorer, or turns noisy `[T]` at 48 kHz into degraded, aligned and equally long;
    None means that the input has already been suppressed, and a model that needs the noisy signal is given the degraded
    one in its place. `strength` None uses the model's own.
    """

    restorer: Restorer
    suppress: Chain | Suppress | None
    strength: float | None = None

    @property
    def streams(self) -> bool:
        """Whether audio comes out while it goes in; otherwise all work is done when a channel has ended."""
        return self.suppress is None or (isinstance(self.suppress, Chain) and self.suppress.streams)

    def way(self, rate_hz: int) -> Way:
        """A new way for a channel at `rate_hz`. Its memory use is constant if the suppressor can be streamed."""
        own_hz = self.restorer.sample_rate_hz
        return self._own_way() if rate_hz == own_hz else _Resampled(self._own_way(), rate_hz, own_hz)

    def _own_way(self) -> Way:
        strength = self.restorer.default_strength if self.strength is None else checked_strength(self.strength)
        if isinstance(self.suppress, Chain):
            chain, suppressor = self.suppress, self.suppress.suppressor
            way: Way = _Chained(chain, strength) if chain.streams else _Whole(chain, strength)
            return _Bridged(way, suppressor.latency_samples) if suppressor.name == "dfn3" else way
        if self.suppress is None:
            return _Suppressed(self.restorer, strength)
        return _Whole(_behind(self.suppress, self.restorer), strength)


@dataclass(frozen=True)
class Recipe:
    """The settings of a treatment, small enough to send to worker processes, which each load their own.

    `model` is a file or the name of a packaged voice; None is the default voice. `suppressor` None means that the input
    has already been suppressed.
    """

    model: Path | str | None = None
    suppressor: SuppressorSettings | None = field(default_factory=SuppressorSettings)
    strength: float | None = None

    def load(self) -> Treatment:
        """Open model and suppressor, one thread each. Raises `ModelError` or `SuppressorError` if that fails."""
        restorer = Restorer.load(self.model)
        chain = None if self.suppressor is None else Chain(load_suppressor(self.suppressor), restorer)
        return Treatment(restorer, chain, self.strength)


class _Chained:
    """Suppressor and restorer hop by hop; drops the delay at the start, and the stream's flush adds it at the end."""

    def __init__(self, chain: Chain, strength: float) -> None:
        self._stream = chain.stream(strength)
        self._to_drop = chain.delay_samples

    def push(self, samples: FloatArray) -> FloatArray:
        return self._aligned(self._stream.push(samples))

    def flush(self) -> FloatArray:
        return self._aligned(self._stream.flush())

    def _aligned(self, delayed: FloatArray) -> FloatArray:
        dropped = min(self._to_drop, len(delayed))
        self._to_drop -= dropped
        return delayed[dropped:]


class _Bridged:
    """A way through DeepFilterNet3 that keeps audio in place around silences, which DeepFilterNet3 does not process.

    libDF skips near-silent hops entirely. So the last 30 ms of a voice stay inside it during a pause and come out at
    its end, ahead of the next word: in a stream as in the release, which a chain matches. In a file, sample n must be
    the same instant. So here the first hops of a pause are replaced with a signal that counts as sound for libDF but is
    inaudible (`FLUSH`), until everything before has come out; the output for silent hops is set to zeros.
    """

    def __init__(self, way: Way, late_samples: int) -> None:
        self._way, self._bridge_hops = way, -(-late_samples // HOP_SAMPLES)
        self._silent_since = self._bridge_hops  # nothing to flush out at the beginning
        self._waiting = np.zeros(0, np.float32)
        self._sounds = np.zeros(0, np.bool_)
        """For each sample still to come out, whether its hop held sound."""

    def push(self, samples: FloatArray) -> FloatArray:
        waiting = np.concatenate([self._waiting, samples])
        whole = len(waiting) // HOP_SAMPLES * HOP_SAMPLES
        self._waiting = waiting[whole:]
        return self._kept(self._way.push(self._bridged(waiting[:whole].reshape(-1, HOP_SAMPLES))))

    def flush(self) -> FloatArray:
        # A hop that is not full is judged by the mean of the samples it has.
        last, self._waiting = self._waiting, np.zeros(0, np.float32)
        end = self._bridged(last[None]) if len(last) else last
        return self._kept(np.concatenate([self._way.push(end), self._way.flush()]))

    def _bridged(self, hops: FloatArray) -> FloatArray:
        """Samples of these hops `[N, 480]` as they are passed to the suppressor."""
        heard = is_heard(hops)
        self._sounds = np.concatenate([self._sounds, np.repeat(heard, hops.shape[1])])
        out = hops.copy()
        for hop, sounds in enumerate(heard):
            self._silent_since = 0 if sounds else self._silent_since + 1
            if 0 < self._silent_since <= self._bridge_hops:
                out[hop] = np.resize(FLUSH, hops.shape[1])
        return out.reshape(-1)

    def _kept(self, restored: FloatArray) -> FloatArray:
        sounds, self._sounds = np.split(self._sounds, [len(restored)])
        return np.where(sounds, restored, np.float32(0.0))


class _Suppressed:
    """The restorer alone, for input that has already been suppressed."""

    def __init__(self, restorer: Restorer, strength: float) -> None:
        self._stream, self._needs_noisy = restorer.stream(strength=strength), restorer.needs_noisy

    def push(self, samples: FloatArray) -> FloatArray:
        return self._stream.push(samples, samples if self._needs_noisy else None)

    def flush(self) -> FloatArray:
        return self._stream.flush()


class _WholeSignal(Protocol):
    def __call__(self, noisy: FloatArray, *, strength: float | None) -> FloatArray: ...


class _Whole:
    """For a suppressor that only takes whole signals: everything is kept until the end."""

    def __init__(self, restore: _WholeSignal, strength: float) -> None:
        self._restore, self._strength = restore, strength
        self._parts: list[FloatArray] = []

    def push(self, samples: FloatArray) -> FloatArray:
        self._parts.append(samples)
        return np.zeros(0, np.float32)

    def flush(self) -> FloatArray:
        noisy = np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)
        self._parts.clear()
        return self._restore(noisy, strength=self._strength)


def _behind(suppress: Suppress, restorer: Restorer) -> _WholeSignal:
    def restore(noisy: FloatArray, *, strength: float | None) -> FloatArray:
        return restorer(suppress(noisy), noisy, strength=strength)

    return restore


class _Resampled:
    """Wraps a way with resampling from and to another rate."""

    def __init__(self, way: Way, rate_hz: int, own_hz: int) -> None:
        self._way = way
        self._there, self._back = Resampler(rate_hz, own_hz), Resampler(own_hz, rate_hz)
        self._received = self._returned = 0

    def push(self, samples: FloatArray) -> FloatArray:
        self._received += len(samples)
        out = self._back.push(self._way.push(self._there.push(np.ascontiguousarray(samples))))
        self._returned += len(out)
        return out

    def flush(self) -> FloatArray:
        last = self._way.push(self._there.flush())
        parts = [self._back.push(last), self._back.push(self._way.flush()), self._back.flush()]
        # Resampling back and forth may change the length by a sample.
        missing = self._received - self._returned
        out = np.concatenate(parts)[:missing]
        return np.pad(out, (0, missing - len(out)))
