"""What happens to a channel between reading and writing, in whatever pieces it comes.

Every way keeps the time base: joined, what comes out is as long as what went in, and sample n is the same instant.
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
    """One channel's way, float32 `[T]` in and out."""

    def push(self, samples: FloatArray) -> FloatArray:
        """Take the next samples, give what is ready, which may be nothing."""
        ...

    def flush(self) -> FloatArray:
        """The rest. Ends the way."""
        ...


@dataclass(frozen=True)
class Treatment:
    """How signals are restored: by which restorer, behind which suppressor, how strongly.

    `suppress` is a `Chain` of this restorer, or turns noisy `[T]` at 48 kHz into degraded, aligned and as long; None
    says that the input was suppressed before: a model that wants the noisy signal is then given the degraded one, for
    want of it. `strength` None takes the model's own.
    """

    restorer: Restorer
    suppress: Chain | Suppress | None
    strength: float | None = None

    @property
    def streams(self) -> bool:
        """Whether sound comes out while it goes in; else all work is done when a channel has ended."""
        return self.suppress is None or (isinstance(self.suppress, Chain) and self.suppress.streams)

    def way(self, rate_hz: int) -> Way:
        """A fresh way for a channel at `rate_hz`. Its memory is flat where the suppressor can be streamed."""
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
    """What a treatment is made of, small enough to be sent to worker processes, which each load their own.

    `model` is a file or a packaged voice's name, None the default one; `suppressor` None says that the input was
    suppressed before.
    """

    model: Path | str | None = None
    suppressor: SuppressorSettings | None = field(default_factory=SuppressorSettings)
    strength: float | None = None

    def load(self) -> Treatment:
        """Open model and suppressor, one thread each. Raises `ModelError` or `SuppressorError` where that fails."""
        restorer = Restorer.load(self.model)
        chain = None if self.suppressor is None else Chain(load_suppressor(self.suppressor), restorer)
        return Treatment(restorer, chain, self.strength)


class _Chained:
    """Suppressor and restorer hop by hop; the delay is taken off in front, and its flush gives as much behind."""

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
    """A way through DeepFilterNet3 with sound where it belongs around the silences in which that stands still.

    libDF shows hops of next to nothing to none of its parts. So the last 30 ms of a voice stay in it through a pause
    and come out at its end, ahead of the next word: in a stream as in the release, which a chain equals. In a file
    sample n is to be the same instant. So here the first hops of a pause carry what is sound to libDF and to nobody
    else (`FLUSH`), until all that was before has come out; and what belongs to a silent hop is zeros.
    """

    def __init__(self, way: Way, late_samples: int) -> None:
        self._way, self._bridge_hops = way, -(-late_samples // HOP_SAMPLES)
        self._silent_since = self._bridge_hops  # nothing to bring out at the beginning
        self._waiting = np.zeros(0, np.float32)
        self._sounds = np.zeros(0, np.bool_)
        """Of each sample that is still to come out, whether there was sound in its hop."""

    def push(self, samples: FloatArray) -> FloatArray:
        waiting = np.concatenate([self._waiting, samples])
        whole = len(waiting) // HOP_SAMPLES * HOP_SAMPLES
        self._waiting = waiting[whole:]
        return self._kept(self._way.push(self._bridged(waiting[:whole].reshape(-1, HOP_SAMPLES))))

    def flush(self) -> FloatArray:
        # Without samples to fill the hop, its mean is over what there is.
        last, self._waiting = self._waiting, np.zeros(0, np.float32)
        end = self._bridged(last[None]) if len(last) else last
        return self._kept(np.concatenate([self._way.push(end), self._way.flush()]))

    def _bridged(self, hops: FloatArray) -> FloatArray:
        """Samples of these hops `[N, 480]`, as the suppressor is to hear them."""
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
    """The restorer alone, for what was suppressed before."""

    def __init__(self, restorer: Restorer, strength: float) -> None:
        self._stream, self._needs_noisy = restorer.stream(strength=strength), restorer.needs_noisy

    def push(self, samples: FloatArray) -> FloatArray:
        return self._stream.push(samples, samples if self._needs_noisy else None)

    def flush(self) -> FloatArray:
        return self._stream.flush()


class _WholeSignal(Protocol):
    def __call__(self, noisy: FloatArray, *, strength: float | None) -> FloatArray: ...


class _Whole:
    """For a suppressor that takes whole signals: all is kept until the end."""

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
    """Another rate around a way."""

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
        # There and back may round the length by a sample.
        missing = self._received - self._returned
        out = np.concatenate(parts)[:missing]
        return np.pad(out, (0, missing - len(out)))
