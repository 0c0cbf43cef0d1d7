"""The cost of a hop in the streams a product would use, one hop at a time on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from timbre_restore.audio import HOP_SAMPLES, SAMPLE_RATE_HZ, FloatArray
from timbre_restore.runtime.checks.endurance import SLOWING
from timbre_restore.runtime.checks.memory import resident_mb
from timbre_restore.runtime.checks.rows import Row
from timbre_restore.runtime.checks.sounds import LEFT, stretch_of, voiced
from timbre_restore.runtime.restorer import Restorer

HOP_MS = 1000.0 * HOP_SAMPLES / SAMPLE_RATE_HZ
RESIDENT_MB = 1000.0
UNCOUNTED = 20
"""Hops that are not counted at the start, while caches fill."""


def check_cost(restorer: Restorer, seconds: float) -> list[Row]:
    """Milliseconds per hop of `Restorer.stream` for voice, how they change when the input fades out, and memory."""
    push = _pusher(restorer)
    hops = voiced(seconds).reshape(-1, HOP_SAMPLES)
    costs_ms = [_milliseconds(push, hop) for hop in hops][min(UNCOUNTED, len(hops) // 2) :]
    p50, p99 = np.percentile(costs_ms, [50, 99])
    rng = np.random.default_rng(5)
    fading = [stretch_of(sound, len(hops) // 2, rng) for sound in ("silence", "denormals")]
    faded_ms = [_milliseconds(push, hop) for hop in np.concatenate(fading)]
    return [
        Row("cost_p50", float(p50), HOP_MS, "ms", f"per hop of {HOP_MS:g} ms, {len(costs_ms)} hops"),
        Row("cost_p99", float(p99), HOP_MS, "ms", "per hop"),
        Row(
            "cost_fading", float(np.median(faded_ms) / p50), SLOWING, "×", "in silence and denormals, relative to voice"
        ),
        Row("memory", resident_mb(), RESIDENT_MB, "MB", "held by this process, including the suppressor"),
    ]


def _pusher(restorer: Restorer) -> Callable[[FloatArray], FloatArray]:
    stream = restorer.stream(restorer.lookahead_samples, 1.0)
    return lambda hop: stream.push(LEFT * hop, hop if restorer.needs_noisy else None)


def _milliseconds(push: Callable[[FloatArray], FloatArray], hop: FloatArray) -> float:
    started = time.perf_counter()
    push(hop)
    return 1000.0 * (time.perf_counter() - started)
