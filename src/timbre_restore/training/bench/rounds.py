"""Rates of several subjects, measured in alternating rounds, so that other load on the machine affects all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

ROUND_S = 1.0
"""Duration of a subject's round: it has as many steps as fit, so that a fast device runs ahead as in training."""
MOST_STEPS = 100
FEWEST_ROUNDS = 2


@dataclass(frozen=True)
class Subject:
    """An operation that is repeated and timed."""

    name: str
    items: int
    """Number of items that one step processes."""
    step: Callable[[], None]
    fewest_steps: int = 1
    """The number of steps in a round is a multiple of this."""


@dataclass(frozen=True)
class Rate:
    """The measurements of a subject: items per second in each round."""

    items: int
    items_per_s: tuple[float, ...]
    steps: int
    """Number of measured steps over all rounds."""
    device_bytes: int | None
    """Peak memory allocated on a CUDA device in any round; None on other devices."""

    @property
    def median(self) -> float:
        """Median of the items per second."""
        return statistics.median(self.items_per_s)

    def record(self) -> dict[str, float | int | None]:
        """The rate as a JSON object."""
        return {
            "items_per_step": self.items,
            "steps": self.steps,
            "items_per_s": _rounded(self.median),
            "items_per_s_lowest": _rounded(min(self.items_per_s)),
            "items_per_s_highest": _rounded(max(self.items_per_s)),
            "device_bytes": self.device_bytes,
        }


class Series:
    """A subject's rounds so far."""

    def __init__(self, subject: Subject, device: torch.device) -> None:
        """Run the first step uncounted and time the second one to determine how many steps make a round."""
        self.subject = subject
        self.device = device
        self.values: list[float] = []
        """Items per second of each round."""
        self._device_bytes: list[int] = []
        subject.step()
        self._steps = steps_of_round(seconds_of(subject.step, 1, device), subject.fewest_steps)

    def round(self) -> None:
        """Run and time one more round."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        seconds = seconds_of(self.subject.step, self._steps, self.device)
        self.values.append(self._steps * self.subject.items / seconds)
        if self.device.type == "cuda":
            self._device_bytes.append(torch.cuda.max_memory_allocated(self.device))

    def rate(self) -> Rate:
        """The rate over all rounds so far."""
        steps = self._steps * len(self.values)
        return Rate(self.subject.items, tuple(self.values), steps, max(self._device_bytes, default=None))


def measure_rates(
    subjects: Sequence[Subject],
    rounds: int,
    device: torch.device,
    *,
    longest_s: float = math.inf,
    progress: Callable[[int, int, object], None] = lambda done, total, name: None,
) -> dict[str, Rate]:
    """Rates by name. No further round starts after `longest_s`, once there are two."""
    started = time.monotonic()
    all_series = []
    for subject in subjects:
        progress(0, rounds, subject.name)
        all_series.append(Series(subject, device))
    for done in range(rounds):
        if done >= FEWEST_ROUNDS and time.monotonic() - started > longest_s:
            break
        for series in all_series:
            progress(done, rounds, series.subject.name)
            series.round()
    return {series.subject.name: series.rate() for series in all_series}


def steps_of_round(seconds: float, fewest: int) -> int:
    """How many steps of `seconds` make a round: a multiple of `fewest`, at most a hundred if `fewest` allows."""
    wanted = min(MOST_STEPS, math.ceil(ROUND_S / seconds))
    return fewest * math.ceil(wanted / fewest)


def seconds_of(step: Callable[[], None], count: int, device: torch.device) -> float:
    """Seconds for `count` steps; the device is synchronised before and after."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(count):
        step()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def _rounded(value: float) -> float:
    """Round to four digits: more would be noise."""
    return float(f"{value:.4g}")
