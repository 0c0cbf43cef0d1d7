"""What an evaluation leaves behind: per item, per system, per metric. Data only; `summary` reads it."""

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

    `lag_samples` is its lag behind the signal it was made from (see `scoring`); None where it has no meaning. `problem`
    says what is wrong with the output, `missing` that a folder has none. `curve` are other strengths of the system, or,
    with the suppressor, its attenuation limits.
    """

    scores: Mapping[str, Score]
    lag_samples: int | None = None
    problem: str = ""
    missing: bool = False
    curve: Sequence[Point] = ()


@dataclass(frozen=True)
class Judged:
    """A system's result on an item, its excerpt as FLAC (or nothing), where its spectrum ends, whether it is of use."""

    result: SystemResult
    sound: bytes = b""
    bandwidth_hz: int = 0
    usable: bool = True


@dataclass(frozen=True)
class Clip:
    """An excerpt to look at and listen to: every system and `clean` as FLAC, at the item's one gain less 12 dB."""

    start_s: float
    sounds: Mapping[str, bytes]


@dataclass(frozen=True)
class ItemResult:
    """All systems on one item; `facts` are what is known of it (speaker, SNR), `remarks` what qualifies its values."""

    stem: str
    seconds: float
    systems: Mapping[str, SystemResult]
    facts: Mapping[str, str | float] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    clip: Clip | None = None

    def value(self, system: str, key: str) -> float | None:
        """One number, or None where there is none."""
        score = self.systems[system].scores.get(key)
        return score.value if score else None

    def change(self, system: str, key: str) -> float | None:
        """`system` less the suppressor, or None where either has no value."""
        before, after = self.value(DEGRADED, key), self.value(system, key)
        return None if before is None or after is None else after - before


@dataclass(frozen=True)
class Failure:
    """An output that breaks its contract: late, of another length, or not finite."""

    stem: str
    system: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """Results in the order of the items; `systems` begin with noisy and degraded."""

    metrics: tuple[Metric, ...]
    systems: tuple[str, ...]
    items: tuple[ItemResult, ...]

    @property
    def failures(self) -> list[Failure]:
        """Every output that is of no use, or late."""
        return [
            Failure(item.stem, name, result.problem)
            for item in self.items
            for name, result in item.systems.items()
            if result.problem and not result.missing
        ]

    @property
    def restored(self) -> str:
        """The system that sentences are about: `restored`, or the first that stands against the suppressor."""
        return RESTORED if RESTORED in self.systems else (self.systems[2:] or self.systems[-1:])[0]

    @property
    def has_references(self) -> bool:
        """Whether anything was held against a clean side."""
        return any(metric.needs_reference for metric in self.metrics)
