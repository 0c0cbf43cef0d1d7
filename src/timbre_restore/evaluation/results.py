"""What an evaluation produces: per item, per system, per metric. Data only; `summary` interprets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from timbre_restore.metrics import Metric, Score

NOISY, DEGRADED, RESTORED, CLEAN = "noisy", "degraded", "restored", "clean"


@dataclass(frozen=True)
class Point:
    """Where a system would stand at another strength, or the suppressor with another limit: rates in [0, 1]."""

    amount: float
    """Strength in [0, 1], or the limit in dB."""
    osr: float
    resid: float


@dataclass(frozen=True)
class SystemResult:
    """One system's scores on one item by metric key.

    `lag_samples` is its lag behind the signal it was made from (see `scoring`); None if it has no meaning. `problem`
    says what is wrong with the output, `missing` that a folder has none. `curve` holds other strengths of the system
    or, for the suppressor, its attenuation limits.
    """

    scores: Mapping[str, Score]
    lag_samples: int | None = None
    problem: str = ""
    missing: bool = False
    curve: Sequence[Point] = ()


@dataclass(frozen=True)
class Judged:
    """A system's result on an item, its excerpt as FLAC (or empty), its bandwidth, and whether it is usable."""

    result: SystemResult
    sound: bytes = b""
    bandwidth_hz: int = 0
    usable: bool = True


@dataclass(frozen=True)
class Clip:
    """An excerpt to view and listen to: every system and `clean` as FLAC, at the item's common gain minus 12 dB."""

    start_s: float
    sounds: Mapping[str, bytes]


@dataclass(frozen=True)
class ItemResult:
    """All systems on one item; `facts` is what is known about it (speaker, SNR), `remarks` qualify its values."""

    stem: str
    seconds: float
    systems: Mapping[str, SystemResult]
    facts: Mapping[str, str | float] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    clip: Clip | None = None

    def value(self, system: str, key: str) -> float | None:
        """One number, or None if there is none."""
        score = self.systems[system].scores.get(key)
        return score.value if score else None

    def change(self, system: str, key: str) -> float | None:
        """`system` minus the suppressor, or None if either has no value."""
        before, after = self.value(DEGRADED, key), self.value(system, key)
        return None if before is None or after is None else after - before


@dataclass(frozen=True)
class Failure:
    """An output that breaks its contract: late, of the wrong length, or not finite."""

    stem: str
    system: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """Results in the order of the items; `systems` begins with noisy and degraded."""

    metrics: tuple[Metric, ...]
    systems: tuple[str, ...]
    items: tuple[ItemResult, ...]

    @property
    def failures(self) -> list[Failure]:
        """Every output that is unusable or late."""
        return [
            Failure(item.stem, name, result.problem)
            for item in self.items
            for name, result in item.systems.items()
            if result.problem and not result.missing
        ]

    @property
    def restored(self) -> str:
        """The system that the sentences are about: `restored`, or else the first one compared with the suppressor."""
        return RESTORED if RESTORED in self.systems else (self.systems[2:] or self.systems[-1:])[0]

    @property
    def has_references(self) -> bool:
        """Whether anything was compared with a clean reference."""
        return any(metric.needs_reference for metric in self.metrics)
