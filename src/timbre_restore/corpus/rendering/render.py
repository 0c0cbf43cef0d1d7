"""From mixtures to items: conversion to 16 bit, one gain against clipping, the suppressor, segments.

The suppressor hears exactly the 16-bit samples that are stored as noisy, so running the stored noisy signal through the
suppressor gives the stored degraded one. It processes many takes at once where that is faster; the result for a take
does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HINT_VALUES, HOP_SAMPLES, LEAD_SAMPLES, FloatArray, Int16Array, from_pcm, to_db, to_pcm
from timbre_restore.corpus.planning.plan import Take
from timbre_restore.corpus.rendering.mix import Applied, Mixture
from timbre_restore.corpus.rendering.rejects import Rejects, TakeSkipped
from timbre_restore.suppressors import Hints, Suppressor

HintArray = NDArray[np.float16]

CEILING = 0.99
TRIES = 4  # at finding a gain that keeps the suppressor's output below the ceiling
ACTIVE_RANGE_DB = 40.0


@dataclass(frozen=True)
class Rendered:
    """A take's items: degraded and clean int16 `[N, segment]`, noisy `[N, segment + lead]`, and hints."""

    degraded: Int16Array
    clean: Int16Array
    noisy: Int16Array
    hints: HintArray | None
    """`[N, hops, HINT_VALUES]`, one row per hop of degraded; None when the suppressor provides none."""
    activity: NDArray[np.float64]
    """`[N]`: the share of an item's 10 ms frames in which the target is within 40 dB of the take's loudest frame."""
    applied: Applied
    gain_db: float
    """The common gain against clipping."""
    rejects: Rejects


@dataclass(frozen=True)
class _Try:
    """A mixture at one gain, in 16 bit."""

    mixture: Mixture
    gain: float
    noisy: Int16Array


def render(
    takes: Sequence[Take], mix: Callable[[Take], Mixture], suppressor: Suppressor, segment: int
) -> Iterator[tuple[Take, Rendered | TakeSkipped]]:
    """Each take with its items, or with the reason why it gives none, in order of completion.

    All takes use this one suppressor. `mix` is called when the suppressor has room for another take.
    """
    skipped: list[tuple[Take, TakeSkipped]] = []
    waiting: dict[int, tuple[Take, _Try]] = {}
    numbers = count()

    def signals() -> Iterator[FloatArray]:
        for take in takes:
            try:
                mixture = mix(take)
            except TakeSkipped as exc:
                skipped.append((take, exc))
                continue
            attempt = _at_gain(mixture, CEILING / max(_peak(mixture.noisy), _peak(mixture.clean)))
            waiting[next(numbers)] = take, attempt
            yield _heard(attempt, segment)

    for number, degraded, hints in suppressor.many(signals()):
        take, attempt = waiting.pop(number)
        yield take, _finished(attempt, degraded, hints, suppressor, segment)
        yield from skipped
        skipped.clear()
    yield from skipped


def activity(clean: FloatArray, segment: int) -> NDArray[np.float64]:
    """`[N]`: per whole segment of `[T]`, the share of 10 ms frames within 40 dB of the loudest frame overall.

    The loudest frame may come after the last segment; in silence no frame counts.
    """
    hops, items = len(clean) // HOP_SAMPLES, len(clean) // segment
    power = np.mean(clean[: hops * HOP_SAMPLES].reshape(hops, HOP_SAMPLES).astype(np.float64) ** 2, axis=1)
    active = (power > 0.0) & (power >= power.max() * 10.0 ** (-ACTIVE_RANGE_DB / 10.0))
    return np.asarray(active[: items * segment // HOP_SAMPLES].reshape(items, -1).mean(axis=1))


def _at_gain(mixture: Mixture, gain: float) -> _Try:
    gain = min(1.0, gain)
    return _Try(mixture, gain, to_pcm(mixture.noisy * np.float32(gain)))


def _heard(attempt: _Try, segment: int) -> FloatArray:
    """The suppressor's input: whole items, followed only by as much as the suppressor looks ahead."""
    items = len(attempt.mixture.clean) // segment
    return from_pcm(attempt.noisy[: items * segment + LEAD_SAMPLES])


def _finished(
    attempt: _Try, degraded: FloatArray, hints: Hints | None, suppressor: Suppressor, segment: int
) -> Rendered | TakeSkipped:
    mixture, items = attempt.mixture, len(attempt.mixture.clean) // segment
    for _ in range(TRIES):
        peak = _peak(degraded[: items * segment])
        if peak <= CEILING:
            break
        attempt = _at_gain(mixture, attempt.gain * 0.98 * CEILING / peak)
        _, degraded, hints = next(iter(suppressor.many([_heard(attempt, segment)])))
    else:
        reason = "the suppressor's output passes full scale at any gain that was tried"
        return TakeSkipped(reason, mixture.rejects)
    windows = np.lib.stride_tricks.sliding_window_view(attempt.noisy, segment + LEAD_SAMPLES)[::segment][:items]
    clean = mixture.clean[: items * segment] * np.float32(attempt.gain)
    return Rendered(
        to_pcm(degraded[: items * segment]).reshape(items, segment),
        to_pcm(clean).reshape(items, segment),
        np.ascontiguousarray(windows),
        None if hints is None else _hint_items(hints, items, segment),
        activity(mixture.clean, segment),
        mixture.applied,
        to_db(attempt.gain),
        mixture.rejects,
    )


def _hint_items(hints: Hints, items: int, segment: int) -> HintArray:
    hops = segment // HOP_SAMPLES
    low = np.ascontiguousarray(hints.low).view(np.float32)
    rows = np.concatenate([hints.gains, hints.local_snr_db[:, None], low], axis=1)[: items * hops]
    return rows.astype(np.float16).reshape(items, hops, HINT_VALUES)


def _peak(samples: FloatArray) -> float:
    return max(float(np.max(np.abs(samples), initial=0.0)), 1e-12)
