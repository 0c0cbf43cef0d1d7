"""The input of a rule: the means of a log interval, and what the machine did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from timbre_restore.training.monitors.findings import Finding


@dataclass(frozen=True)
class Machine:
    """Timing of one interval, over all processes."""

    wall_s: float
    waited_s: float
    """Seconds of `wall_s` spent waiting for the loader."""
    used: float | None = None
    """Share of the time in which the device worked, 0 to 1; None if unknown."""
    device: str = "cpu"


@dataclass(frozen=True)
class Still:
    """Which trainable tensors of one network did not change."""

    tensors: int
    names: tuple[str, ...]
    """Tensors that are bit-for-bit unchanged, although they could have moved at this learning rate."""
    only_decayed: bool = False
    """Whether tensors shrank by the weight decay and none changed otherwise: no gradient arrived."""


@dataclass(frozen=True)
class Look:
    """One log interval. `machine` and `still` only exist in the current session; the rest can be read from the log."""

    step: int
    steps: int
    """Number of steps in the interval."""
    phase: str
    means: Mapping[str, float]
    machine: Machine | None = None
    still: Mapping[str, Still] = field(default_factory=dict)
    """By network; a network is missing the first time it is checked."""


class Rule(Protocol):
    """One thing that can go wrong. A rule stores only the history that it needs."""

    @property
    def suspects(self) -> bool:
        """Whether the condition for which it stops a run may have begun, so that the current state may be unhealthy."""

    def look(self, look: Look) -> Iterator[Finding]:
        """Take the next interval and yield its findings, if any."""


class Lasting:
    """Whether a condition has held without interruption for `steps` steps and `looks` intervals."""

    def __init__(self, steps: int, looks: int = 3) -> None:
        self._needed = steps, looks
        self._steps = self._looks = 0

    @property
    def begun(self) -> bool:
        """Whether the condition held in the last interval."""
        return self._looks > 0

    def add(self, holds: bool, steps: int) -> bool:
        """Count an interval; return whether the condition has lasted long enough."""
        self._steps, self._looks = (self._steps + steps, self._looks + 1) if holds else (0, 0)
        return self._steps >= self._needed[0] and self._looks >= self._needed[1]
