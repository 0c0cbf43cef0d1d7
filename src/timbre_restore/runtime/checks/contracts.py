"""Checks of the restorer's output: when samples come, what they depend on, and that different ways agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from timbre_restore.audio import HOP_SAMPLES, FloatArray, lag_samples
from timbre_restore.runtime.chain import Chain, ChainStream
from timbre_restore.runtime.checks.rows import Row
from timbre_restore.runtime.checks.sounds import LEFT, voiced
from timbre_restore.runtime.restorer import Restorer
from timbre_restore.runtime.stream import Stream
from timbre_restore.suppressors.base import HopSuppressor

EQUAL = 1e-6
STREAM_EQUAL = 1e-5
CUTS = (HOP_SAMPLES * 40, HOP_SAMPLES * 61 + 137, HOP_SAMPLES * 90 - 1)
"""Sample positions from which on two inputs differ."""
CHUNKS = (0, 1, 7, HOP_SAMPLES - 1, HOP_SAMPLES, HOP_SAMPLES + 1, 2000)


def check_chain(chain: Chain, seconds: float) -> list[Row]:
    """The promises of `Chain`: no delay is added to the suppressor's own, and no output depends on later input."""
    noisy = voiced(seconds)
    delayed = suppressed_alone(chain, noisy)
    uneven, given, stream = 0, 0, chain.stream(1.0)
    for first in range(0, len(noisy), HOP_SAMPLES):
        given += len(stream.push(noisy[first : first + HOP_SAMPLES]))
        uneven = max(uneven, abs(given - first - HOP_SAMPLES))
    shut, full = chain.stream(0.0).push(noisy), chain.stream(1.0).push(noisy)
    early = [
        difference(chain.stream(1.0).push(_changed(noisy, cut))[: _whole(cut)], full[: _whole(cut)])
        for cut in _cuts_within(len(noisy))
    ]
    chunked = _joined(chain.stream(1.0), noisy)[chain.delay_samples :]
    offline = chain(noisy, strength=1.0)
    return [
        Row("chain_latency", uneven, 0, "samples", "difference in count from the suppressor alone, after a hop"),
        Row("chain_strength_0", difference(shut, delayed), EQUAL, "", "difference from the suppressor at strength 0"),
        Row("chain_causality", _worst(early), EQUAL, "", "change in samples due before the inputs differ"),
        Row("chain_lag", abs(lag_samples(full, delayed)), 0, "samples", "behind the suppressor's own output"),
        Row("chain_stream", difference(chunked, offline), STREAM_EQUAL, "", "chunks of any length, against the whole"),
    ]


def check_restorer(restorer: Restorer, seconds: float) -> list[Row]:
    """The promises of `Restorer` behind a black box."""
    noisy = voiced(seconds)
    degraded = LEFT * noisy
    beside = noisy if restorer.needs_noisy else None
    full = restorer(degraded, beside, strength=1.0)
    chunked = [_stream_error(restorer, degraded, noisy, lead) for lead in sorted({0, restorer.lookahead_samples})]
    return [
        Row("latency", _held(restorer, degraded, noisy), restorer.latency_samples, "samples", "held back by a stream"),
        Row("causality", _early(restorer, degraded, beside, full), EQUAL, "", "change in samples before their cause"),
        Row("lag", abs(lag_samples(full, degraded)), 0, "samples", "behind the suppressed input"),
        Row("stream", _worst(chunked), STREAM_EQUAL, "", "chunks of any length, against the whole"),
    ]


def check_determinism(restorer: Restorer, chain: Chain | None, seconds: float) -> list[Row]:
    """Two equal runs with a different third one interleaved: no run may affect another."""
    sound, other = voiced(seconds), voiced(seconds, seed=1)
    unequal = 0
    begins: list[Callable[[], Callable[[FloatArray], FloatArray]]] = [lambda: _pusher(restorer)]
    if chain is not None:
        begins.append(lambda: chain.stream(1.0).push)
    for begin in begins:
        one, two, third = begin(), begin(), begin()
        for first in range(0, len(sound), HOP_SAMPLES):
            part = slice(first, first + HOP_SAMPLES)
            before = one(sound[part])
            third(other[part])
            unequal += int(np.count_nonzero(before != two(sound[part])))
    return [Row("determinism", unequal, 0, "samples", "not bit-identical in a second run")]


def suppressed_alone(chain: Chain, noisy: FloatArray) -> FloatArray:
    """The output of a streaming chain's suppressor alone for whole hops, with its delay left in."""
    assert isinstance(chain.suppressor, HopSuppressor) and chain.suppressor.frames is not None
    frames = chain.suppressor.frames
    audio: FloatArray = frames.stream(noisy.reshape(-1, HOP_SAMPLES), frames.begin())[0].audio.reshape(-1)
    return audio


def _held(restorer: Restorer, degraded: FloatArray, noisy: FloatArray) -> int:
    """The most samples that a stream, hop by hop, holds back when noisy is as far ahead as the model looks."""
    stream, given, held = restorer.stream(restorer.lookahead_samples, 1.0), 0, 0
    for first in range(0, len(degraded), HOP_SAMPLES):
        part = slice(first, first + HOP_SAMPLES)
        given += len(stream.push(degraded[part], noisy[part] if restorer.needs_noisy else None))
        held = max(held, first + HOP_SAMPLES - given)
    return held


def _early(restorer: Restorer, degraded: FloatArray, noisy: FloatArray | None, full: FloatArray) -> float:
    """The largest change in restored samples before the first one that may depend on the changed input."""
    changes = []
    for cut in _cuts_within(len(degraded)):
        safe = _whole(cut) - restorer.latency_samples
        changes.append(difference(restorer(_changed(degraded, cut), noisy, strength=1.0)[:safe], full[:safe]))
        if noisy is not None:
            safe = _whole(cut) - restorer.lookahead_samples
            changes.append(difference(restorer(degraded, _changed(noisy, cut), strength=1.0)[:safe], full[:safe]))
    return _worst(changes)


def _stream_error(restorer: Restorer, degraded: FloatArray, noisy: FloatArray, lead: int) -> float:
    """A stream whose noisy is `lead` ahead never hears its first samples, so the whole signal gets zeros there."""
    if not restorer.needs_noisy:
        return difference(_joined(restorer.stream(lead, 1.0), degraded), restorer(degraded, strength=1.0))
    whole = restorer(degraded, np.concatenate([np.zeros(lead, np.float32), noisy]), strength=1.0)
    return difference(_joined(restorer.stream(lead, 1.0), degraded, noisy), whole)


def _joined(stream: Stream | ChainStream, *signals: FloatArray) -> FloatArray:
    """All output of a stream for chunks of random lengths."""
    rng, parts, first = np.random.default_rng(2), [], 0
    while first < len(signals[0]):
        part = slice(first, first + int(rng.choice(CHUNKS)))
        parts.append(stream.push(*(signal[part] for signal in signals)))
        first = part.stop
    return np.concatenate([*parts, stream.flush()])


def _pusher(restorer: Restorer) -> Callable[[FloatArray], FloatArray]:
    stream = restorer.stream(0, 1.0)
    return lambda part: stream.push(LEFT * part, part if restorer.needs_noisy else None)


def difference(one: FloatArray, other: FloatArray) -> float:
    """The largest difference between two signals; infinite when their lengths differ."""
    return float(np.max(np.abs(one - other), initial=0.0)) if len(one) == len(other) else float("inf")


def _worst(figures: list[float]) -> float:
    """The largest figure; NaN if any is NaN, which Python's own `max` may ignore."""
    return float(np.max(figures, initial=0.0))


def _changed(samples: FloatArray, cut: int) -> FloatArray:
    """The same samples up to `cut`, and different ones from there on."""
    rest = 0.3 * np.random.default_rng(3).standard_normal(len(samples) - cut)
    return np.concatenate([samples[:cut], rest.astype(np.float32)])


def _cuts_within(length: int) -> list[int]:
    return [cut for cut in CUTS if cut + 4 * HOP_SAMPLES < length]


def _whole(cut: int) -> int:
    return cut // HOP_SAMPLES * HOP_SAMPLES
