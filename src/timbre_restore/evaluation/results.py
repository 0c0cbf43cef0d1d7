"""What an evaluation leaves behind: per item, per system, per metric. Data only; `summary` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from timbre_restore.audio import FloatArray
from timbre_restore.metrics import Metric, Score

NOISY, DEGRADED, RESTORED, CLEAN = "noisy", "degraded", "restored", "clean"


@dataclass(frozen=True)
class SystemResult:
    """One system's scores on one item by metric key.

    `lag_samples` is its lag behind the signal it was made from (see `evaluate`); None where it has no meaning.
    """

    scores: Mapping[str, Score]
    lag_samples: int | None = None


@dataclass(frozen=True)
class ItemResult:
    """All systems on one item."""

    stem: str
    seconds: float
    systems: Mapping[str, SystemResult]

    def value(self, system: str, key: str) -> float | None:
        """One number, or None where there is none."""
        score = self.systems[system].scores.get(key)
        return score.value if score else None

    def change(self, system: str, key: str) -> float | None:
        """`system` − `degraded`, or None where either has no value."""
        before, after = self.value(DEGRADED, key), self.value(system, key)
        return None if before is None or after is None else after - before


@dataclass(frozen=True)
class Failure:
    """An output that breaks its contract: late, of another length, or not finite."""

    stem: str
    system: str
    reason: str


@dataclass(frozen=True)
class Clip:
    """An excerpt to look at and listen to: every system and `clean` as `[T]` at 48 kHz, at the item's one gain."""

    stem: str
    start_s: float
    signals: Mapping[str, FloatArray]


@dataclass(frozen=True)
class Evaluation:
    """Results in the order of the items; `clips` are of the most and the least over-suppressed, worst first."""

    metrics: tuple[Metric, ...]
    systems: tuple[str, ...]
    items: tuple[ItemResult, ...]
    failures: tuple[Failure, ...]
    clips: tuple[Clip, ...]
