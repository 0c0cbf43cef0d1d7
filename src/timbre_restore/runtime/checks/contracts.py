"""What the restorer promises of its samples: when they come, what they depend on, that two ways give the same ones."""

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
"""Samples from which on two inputs differ."""
CHUNKS = (0, 1, 7, HOP_SAMPLES - 1, HOP_SAMPLES, HOP_SAMPLES + 1, 2000)


def check_chain(chain: Chain, seconds: float) -> list[Row]:
    """The promises of `Chain`: nothing is added to the suppressor's own delay, and nothing comes before its cause."""
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
        Row("chain_latency", uneven, 0, "samples", "after a hop, off from what the suppressor alone has given"),
        Row("chain_strength_0", difference(shut, delayed), EQUAL, "", "off from the suppressor alone at strength 0"),
        Row("chain_causality", _worst(early), EQUAL, "", "change of samples that were due before their input differed"),
        Row("chain_lag", abs(lag_samples(full, delayed)), 0, "samples", "behind the suppressor's own output"),
        Row("chain_stream", difference(chunked, offline), STREAM_EQUAL, "", "chunks of any length, from the whole"),
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
        Row("causality", _early(restorer, degraded, beside, full), EQUAL, "", "change of samples before their cause"),
        Row("lag", abs(lag_samples(full, degraded)), 0, "samples", "behind the suppressed input"),
        Row("stream", _worst(chunked), STREAM_EQUAL, "", "chunks of any length, from the whole"),
    ]


def check_determinism(restorer: Restorer, chain: Chain | None, seconds: float) -> list[Row]:
    """Two runs with a third between them that hears something else: no run may know of another."""
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
    return [Row("determinism", unequal, 0, "samples", "not bit-equal in a second run")]


def suppressed_alone(chain: Chain, noisy: FloatArray) -> FloatArray:
    """What the suppressor of a chain that streams gives alone for whole hops, its delay left in."""
    assert isinstance(chain.suppressor, HopSuppressor) and chain.suppressor.frames is not None
    frames = chain.suppressor.frames
    audio: FloatArray = frames.stream(noisy.reshape(-1, HOP_SAMPLES), frames.begin())[0].audio.reshape(-1)
    return audio


def _held(restorer: Restorer, degraded: FloatArray, noisy: FloatArray) -> int:
    """Samples that a stream, hop by hop, owes at most, where noisy is as early as the model looks."""
    stream, given, held = restorer.stream(restorer.lookahead_samples, 1.0), 0, 0
    for first in range(0, len(degraded), HOP_SAMPLES):
        part = slice(first, first + HOP_SAMPLES)
        given += len(stream.push(degraded[part], noisy[part] if restorer.needs_noisy else None))
        held = max(held, first + HOP_SAMPLES - given)
    return held


def _early(restorer: Restorer, degraded: FloatArray, noisy: FloatArray | None, full: FloatArray) -> float:
    """Largest change in what was restored before the first sample that may know of it."""
    changes = []
    for cut in _cuts_within(len(degraded)):
        safe = _whole(cut) - restorer.latency_samples
        changes.append(difference(restorer(_changed(degraded, cut), noisy, strength=1.0)[:safe], full[:safe]))
        if noisy is not None:
            safe = _whole(cut) - restorer.lookahead_samples
            changes.append(difference(restorer(degraded, _changed(noisy, cut), strength=1.0)[:safe], full[:safe]))
    return _worst(changes)


def _stream_error(restorer: Restorer, degraded: FloatArray, noisy: FloatArray, lead: int) -> float:
    """A stream whose noisy is earlier by `lead` has never heard the first of it; so zeros stand there for the whole."""
    if not restorer.needs_noisy:
        return difference(_joined(restorer.stream(lead, 1.0), degraded), restorer(degraded, strength=1.0))
    whole = restorer(degraded, np.concatenate([np.zeros(lead, np.float32), noisy]), strength=1.0)
    return difference(_joined(restorer.stream(lead, 1.0), degraded, noisy), whole)


def _joined(stream: Stream | ChainStream, *signals: FloatArray) -> FloatArray:
    """All that a stream gives for chunks of lengths drawn by chance."""
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
    """Largest difference of two signals; infinite when their lengths differ."""
    return float(np.max(np.abs(one - other), initial=0.0)) if len(one) == len(other) else float("inf")


def _worst(figures: list[float]) -> float:
    """The largest; NaN where one is, which Python's own `max` may pass over."""
    return float(np.max(figures, initial=0.0))


def _changed(samples: FloatArray, cut: int) -> FloatArray:
    """The same up to `cut`, and something else from there."""
    rest = 0.3 * np.random.default_rng(3).standard_normal(len(samples) - cut)
    return np.concatenate([samples[:cut], rest.astype(np.float32)])


def _cuts_within(length: int) -> list[int]:
    return [cut for cut in CUTS if cut + 4 * HOP_SAMPLES < length]


def _whole(cut: int) -> int:
    return cut // HOP_SAMPLES * HOP_SAMPLES
