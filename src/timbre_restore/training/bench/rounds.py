"""Rates of several subjects in one run, in rounds: what else the machine does meets all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

ROUND_S = 1.0
"""A round of a subject has as many steps as this takes, so that a fast device runs ahead as it does in training."""
MOST_STEPS = 100
FEWEST_ROUNDS = 2


@dataclass(frozen=True)
class Subject:
    """Something that is done over and over."""

    name: str
    items: int
    """That one step handles."""
    step: Callable[[], None]
    fewest_steps: int = 1
    """Of a round."""


@dataclass(frozen=True)
class Rate:
    """What was measured of a subject: items per second in each round."""

    items: int
    items_per_s: tuple[float, ...]
    steps: int
    """Measured, over all rounds."""
    device_bytes: int | None
    """Most that a CUDA device held in one of its rounds; None elsewhere."""

    @property
    def median(self) -> float:
        """Items per second."""
        return statistics.median(self.items_per_s)

    def record(self) -> dict[str, float | int | None]:
        """As JSON holds it."""
        return {
            "items_per_step": self.items,
            "steps": self.steps,
            "items_per_s": _rounded(self.median),
            "items_per_s_lowest": _rounded(min(self.items_per_s)),
            "items_per_s_highest": _rounded(max(self.items_per_s)),
            "device_bytes": self.device_bytes,
        }


def measure_rates(
    subjects: Sequence[Subject],
    rounds: int,
    device: torch.device,
    *,
    longest_s: float = math.inf,
    progress: Callable[[int, int, object], None] = lambda done, total, name: None,
) -> dict[str, Rate]:
    """Rates by name. Each subject's first step is not counted, and its second one says how many make a round.

    After `longest_s` no further round is begun, once there are two.
    """
    started = time.monotonic()
    counts = {}
    for subject in subjects:
        progress(0, rounds, subject.name)
        subject.step()
        counts[subject.name] = steps_of_round(seconds_of(subject.step, 1, device), subject.fewest_steps)
    values: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    most: dict[str, int | None] = dict.fromkeys(values)
    for done in range(rounds):
        if done >= FEWEST_ROUNDS and time.monotonic() - started > longest_s:
            break
        for subject in subjects:
            progress(done, rounds, subject.name)
            count = counts[subject.name]
            _forget_peak(device)
            values[subject.name].append(count * subject.items / seconds_of(subject.step, count, device))
            most[subject.name] = _higher(most[subject.name], device_peak(device))
    return {
        subject.name: Rate(
            subject.items,
            tuple(values[subject.name]),
            counts[subject.name] * len(values[subject.name]),
            most[subject.name],
        )
        for subject in subjects
    }


def steps_of_round(seconds: float, fewest: int) -> int:
    """How many steps of so many seconds make a round: a multiple of `fewest`, below a hundred where that allows."""
    wanted = min(MOST_STEPS, math.ceil(ROUND_S / seconds))
    return fewest * math.ceil(wanted / fewest)


def seconds_of(step: Callable[[], None], count: int, device: torch.device) -> float:
    """Seconds of so many steps; the device has nothing left to do before and after."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(count):
        step()
    _wait(device)
    return time.perf_counter() - started


def device_peak(device: torch.device) -> int | None:
    """Most bytes that a CUDA device held since it was last asked to forget; None elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def _higher(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _rounded(value: float) -> float:
    """To four digits: more would be noise."""
    return float(f"{value:.4g}")
