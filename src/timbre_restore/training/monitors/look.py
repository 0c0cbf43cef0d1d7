"""What a rule is shown: the means of an interval of the log, and what this machine did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from timbre_restore.training.monitors.findings import Finding


@dataclass(frozen=True)
class Machine:
    """Of all processes together, over one interval."""

    wall_s: float
    waited_s: float
    """Of them, waiting for the loader."""
    used: float | None = None
    """Share of the device's time in which it worked, 0 to 1; None where nobody knows."""
    device: str = "cpu"


@dataclass(frozen=True)
class Still:
    """What of one network's trainable weights stayed as it was."""

    tensors: int
    names: tuple[str, ...]
    """Tensors that are, bit for bit, what they were, and could have moved at this learning rate."""
    only_decayed: bool = False
    """Tensors shrank by the weight decay, and none moved otherwise: no gradient came."""


@dataclass(frozen=True)
class Look:
    """One interval of the log. `machine` and `still` are of this session alone; the rest can be read in the log."""

    step: int
    steps: int
    """Of the interval."""
    phase: str
    means: Mapping[str, float]
    machine: Machine | None = None
    still: Mapping[str, Still] = field(default_factory=dict)
    """By network, where it was looked at before."""


class Rule(Protocol):
    """One thing that can go wrong. It remembers what it needs, and nothing else."""

    @property
    def suspects(self) -> bool:
        """Whether what it stops for has begun: what is saved now may be no healthy state."""

    def look(self, look: Look) -> Iterator[Finding]:
        """Take the next interval; findings, if there are any."""


class Lasting:
    """Whether something has held without a break for so many steps, seen in so many intervals."""

    def __init__(self, steps: int, looks: int = 3) -> None:
        self._needed = steps, looks
        self._steps = self._looks = 0

    @property
    def begun(self) -> bool:
        """Whether it held in the last interval."""
        return self._looks > 0

    def add(self, holds: bool, steps: int) -> bool:
        """Count an interval; whether it has lasted long enough."""
        self._steps, self._looks = (self._steps + steps, self._looks + 1) if holds else (0, 0)
        return self._steps >= self._needed[0] and self._looks >= self._needed[1]
