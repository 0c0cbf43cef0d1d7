"""Timing of a run: total seconds over all its parts, and seconds per step before the GAN and with it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

RECENT = 20
"""Number of log intervals whose median is the time of a step; the median is not affected by the start of workers."""


@dataclass(frozen=True)
class Left:
    """Seconds to the end of a run, or to its GAN phase if none of its steps were measured; None before any step was."""

    seconds: float | None
    to_gan: bool = False

    @property
    def brief(self) -> str:
        """The remaining time for a progress bar."""
        if self.seconds is None:
            return ""
        return f"{duration(self.seconds)} {'to the GAN' if self.to_gan else 'left'}"

    @property
    def words(self) -> str:
        """The remaining time for a line of text."""
        return (self.brief or "time left not known yet") + (", whose steps are not timed yet" if self.to_gan else "")


class Clock:
    """Counts steps between log lines; other work (validation, checkpoints) is timed separately.

    `before` are the train lines of the run's earlier parts and `earlier_s` their seconds, which are continued here. The
    time between a checkpoint and a kill is not included, nor are the steps made in it.
    """

    def __init__(self, before: Sequence[Mapping[str, Any]] = (), earlier_s: float = 0.0) -> None:
        self._earlier_s = earlier_s
        self._step_s: dict[bool, deque[float]] = {False: deque(maxlen=RECENT), True: deque(maxlen=RECENT)}
        for line in before:
            if line.get("batches_per_s", 0.0) > 0.0:
                self._step_s["d_real" in line].append(1.0 / line["batches_per_s"])
        self._steps, self._beside_s, self._epochs = 0, 0.0, 0
        self._started = self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self._earlier_s + time.monotonic() - self._started

    def step_done(self) -> None:
        """Count a step."""
        self._steps += 1

    def interval(self, *, gan: bool) -> dict[str, float]:
        """Return `seconds` and `batches_per_s` for a log line, and start the next interval."""
        step_s = max(1e-9, time.monotonic() - self._since) / max(1, self._steps)
        self._step_s[gan].append(step_s)
        self._steps, self._since = 0, time.monotonic()
        return {"seconds": round(self.seconds, 3), "batches_per_s": round(1.0 / step_s, 4)}

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Time this block separately from the steps."""
        begun = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - begun
            self._since += took
            self._beside_s += took

    def epoch_done(self) -> None:
        """Count an epoch, including its validation and its checkpoint."""
        self._epochs += 1

    def left(self, plain_steps: int, gan_steps: int, epochs: int) -> Left:
        """Time for the remaining steps before the GAN and with it, and for the other work in the remaining epochs."""
        plain, gan = (median(times) if times else None for times in (self._step_s[False], self._step_s[True]))
        seconds = epochs * self._beside_s / self._epochs if self._epochs else 0.0
        if plain_steps:
            if plain is None:
                return Left(None)
            seconds += plain_steps * plain
        if gan_steps and gan is None:
            return Left(seconds, to_gan=True) if plain_steps else Left(None)
        return Left(seconds + gan_steps * (gan or 0.0))


def epochs_text(epochs: float) -> str:
    """The number of epochs as text, with a sensible number of digits."""
    return f"{round(epochs, 2):g}" if epochs < 1000 else f"{epochs:.0f}"


def duration(seconds: float) -> str:
    """A duration as text: `2 h 05 min`, `12 min`, `40 s`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
