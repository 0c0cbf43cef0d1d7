"""Long-run stability of a model on an hour of difficult sounds, and its behaviour when strength changes.

One core processes all sounds in sequence, so that each starts from the states that the previous one left. Time is
measured on the thread's own clock, so that other load on the machine does not count against the model.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from timbre_restore.audio import HOP_SAMPLES, SAMPLE_RATE_HZ, FloatArray, rms
from timbre_restore.runtime.chain import Chain
from timbre_restore.runtime.checks.memory import resident_mb
from timbre_restore.runtime.checks.rows import Row
from timbre_restore.runtime.checks.sounds import LEFT, SOUNDS, stretch_of
from timbre_restore.runtime.core import Core, make_core
from timbre_restore.runtime.restorer import Restorer
from timbre_restore.runtime.stream import STRETCH_HOPS

TENTHS = 10
BOUND = 4.0
"""Output peak, as a multiple of the recent input peak: a gate of 1 returns the input, a correction a little more."""
LATELY_HOPS = 200
"""The number of hops that a model's running level covers."""
QUIETEST = 1e-4
"""Peak (-80 dB) that quieter inputs count as, so that the little a model adds to silence is compared with this."""
FAINTEST_RMS = 1e-6
GROWTH = 1.5
SLOWING = 3.0
WARM_STRETCHES = 8
LEAK_MB = 16.0
CLICK = 1.5


@dataclass
class _Heard:
    """The results for one sound."""

    bad: int = 0
    loudest: float = 0.0
    rms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Thread time per hop, one value per stretch."""


def check_endurance(restorer: Restorer, hours: float, progress: Callable[[int, int, object], None]) -> list[Row]:
    """All sounds through one core, in stretches, `hours` of audio in total."""
    hops = max(round(hours * 3600 * SAMPLE_RATE_HZ / HOP_SAMPLES) // len(SOUNDS), 4 * TENTHS)
    stretch = min(STRETCH_HOPS, hops // (2 * TENTHS))
    core, rng = make_core(restorer.model, 1.0), np.random.default_rng(4)
    # The first calls allocate memory for the rest.
    warm = [_peak(_stretch(core, "noise", stretch, rng, restorer.needs_noisy)[0]) for _ in range(WARM_STRETCHES)]
    lately = deque(warm[-1:], maxlen=-(-LATELY_HOPS // stretch) + 1)
    started_mb = resident_mb()
    heard = {sound: _Heard() for sound in SOUNDS}
    count = hops // stretch
    for number, (sound, of_it) in enumerate(heard.items()):
        for done in range(count):
            progress(number * count + done, len(SOUNDS) * count, sound)
            came_in, came_out, seconds = _stretch(core, sound, stretch, rng, restorer.needs_noisy)
            of_it.bad += int(np.count_nonzero(~np.isfinite(came_out)))
            came_out = np.nan_to_num(came_out, nan=0.0, posinf=0.0, neginf=0.0)  # counted; hidden from other checks
            lately.append(_peak(came_in))
            of_it.loudest = max(of_it.loudest, _peak(came_out) / max(*lately, QUIETEST))
            of_it.rms.append(rms(came_out.reshape(-1)))
            of_it.seconds.append(seconds / stretch)
    return _rows(heard, resident_mb() - started_mb)


def check_strength(restorer: Restorer, chain: Chain | None) -> list[Row]:
    """The largest step between samples when strength jumps in the middle of a tone."""
    at = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = (0.3 * np.sin(2 * np.pi * 440.0 * at)).astype(np.float32)
    ways: list[Callable[[float, float], FloatArray]] = [lambda first, then: _behind(restorer, tone, first, then)]
    if chain is not None:
        ways.append(lambda first, then: _chained(chain, tone, first, then))
    worst = 0.0
    for way in ways:
        steps = {(a, b): float(np.max(np.abs(np.diff(way(a, b))))) for a, b in ((0.0, 0.0), (1.0, 1.0), (0.0, 1.0))}
        jump = steps[0.0, 1.0] / np.max([steps[0.0, 0.0], steps[1.0, 1.0], FAINTEST_RMS])
        worst = float(np.maximum(worst, jump))  # keeps NaN, which Python's own `max` may ignore
    return [Row("strength_click", worst, CLICK, "×", "largest step as strength jumps 0 → 1, relative to none")]


def _behind(restorer: Restorer, tone: FloatArray, first: float, then: float) -> FloatArray:
    stream, half = restorer.stream(0, first), len(tone) // 2
    parts = []
    for part in (slice(0, half), slice(half, None)):
        parts.append(stream.push(LEFT * tone[part], tone[part] if restorer.needs_noisy else None))
        stream.strength = then
    return np.concatenate(parts)[-len(tone) // 2 - 4800 : -4800]


def _chained(chain: Chain, tone: FloatArray, first: float, then: float) -> FloatArray:
    stream, half = chain.stream(first), len(tone) // 2
    parts = []
    for part in (slice(0, half), slice(half, None)):
        parts.append(stream.push(tone[part]))
        stream.strength = then
    return np.concatenate(parts)[-len(tone) // 2 - 4800 : -4800]


def _peak(samples: FloatArray) -> float:
    return float(np.max(np.abs(samples)))


def _stretch(
    core: Core, sound: str, hops: int, rng: np.random.Generator, needs_noisy: bool
) -> tuple[FloatArray, FloatArray, float]:
    noisy = stretch_of(sound, hops, rng)
    degraded = LEFT * noisy
    started = time.thread_time()
    out = core.step(degraded, noisy if needs_noisy else None, 1.0)
    return noisy, out, time.thread_time() - started


def _rows(heard: dict[str, _Heard], grown_mb: float) -> list[Row]:
    bad = {sound: float(of_it.bad) for sound, of_it in heard.items()}
    loudest = {sound: of_it.loudest for sound, of_it in heard.items()}
    growth = {sound: _last_to_first(of_it.rms, FAINTEST_RMS) for sound, of_it in heard.items()}
    slowing = {sound: _last_to_first(of_it.seconds, 0.0) for sound, of_it in heard.items()}
    usual = float(np.median(heard["noise"].seconds))
    slowest = {sound: float(np.median(of_it.seconds)) / usual for sound, of_it in heard.items()}
    return [
        _worst("stability_finite", bad, 0, "samples", "NaN or infinite"),
        _worst("stability_bound", loudest, BOUND, "×", "output peak, relative to the recent input peak"),
        _worst("stability_growth", growth, GROWTH, "×", "level, last tenth relative to first tenth"),
        _worst("stability_slowing", slowing, SLOWING, "×", "time per hop, last tenth relative to first tenth"),
        _worst("stability_cost", slowest, SLOWING, "×", "time per hop, relative to noise"),
        Row("stability_memory", grown_mb, LEAK_MB, "MB", "growth during the test"),
    ]


def _worst(name: str, figures: dict[str, float], limit: float, unit: str, about: str) -> Row:
    """The figure of the worst sound; NaN is worse than anything."""
    sound = max(figures, key=lambda sound: float("inf") if np.isnan(figures[sound]) else figures[sound])
    return Row(name, figures[sound], limit, unit, f"{about} (worst in {sound})")


def _last_to_first(values: list[float], floor: float) -> float:
    tenth = max(len(values) // TENTHS, 1)
    # The very first stretch is still affected by the previous sound.
    first, last = values[1 : 1 + tenth], values[-tenth:]
    return max(float(np.median(last)), floor) / max(float(np.median(first)), floor, 1e-12)
