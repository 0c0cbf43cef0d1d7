"""What many items say together: means, what got worse, and how sure a difference is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from timbre_restore.evaluation.results import DEGRADED, NOISY, Evaluation, ItemResult

WORSE_PESQ = 0.1
WORSE_OSR = 0.01
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences (system − degraded) over `items` items, with the interval `low`…`high`."""

    mean: float
    low: float
    high: float
    items: int


@dataclass(frozen=True)
class Worse:
    """Items that a system made worse than the suppressor had left them, and of how many that could be said."""

    stems: tuple[str, ...]
    by_pesq: int
    by_osr: int
    judged: int
    judged_without_pesq: int


def mean(evaluation: Evaluation, system: str, key: str) -> float | None:
    """Mean over the items that have the value; None when none has. `missing` counts the others."""
    values = _values(evaluation, system, key)
    return float(np.mean(values)) if values else None


def missing(evaluation: Evaluation, system: str, key: str) -> dict[str, int]:
    """Why values are n/a: reason → number of items."""
    scores = [item.systems[system].scores[key] for item in evaluation.items]
    return dict(Counter(str(score.reason) for score in scores if score.value is None))


def worse(evaluation: Evaluation, system: str) -> Worse:
    """PESQ down by more than 0.1, or full OSR up by more than 1 point, against the suppressor on the same item.

    An item counts as judged when at least one of the two exists for both.
    """
    by_pesq = _beyond(evaluation, system, "pesq", -WORSE_PESQ)
    by_osr = _beyond(evaluation, system, "osr", WORSE_OSR)
    stems = tuple(i.stem for i in evaluation.items if i.stem in by_pesq or i.stem in by_osr)
    judged = [i for i in evaluation.items if any(i.change(system, key) is not None for key in ("pesq", "osr"))]
    deaf = [i for i in judged if i.change(system, "pesq") is None]
    return Worse(stems, len(by_pesq), len(by_osr), len(judged), len(deaf))


def difference(evaluation: Evaluation, system: str, key: str, *, seed: int = 0) -> Difference | None:
    """The paired difference to `degraded` with its 95 % bootstrap interval; None with fewer than two pairs.

    Percentile bootstrap (Efron 1979): items are drawn with replacement, `RESAMPLES` times, by `seed`. It covers the
    choice of items, and nothing else: not another microphone, not another training run. Of a signed metric that is
    best at zero it is the change of the distance to zero, so that less is better there too.
    """
    changes = np.array([c for item in evaluation.items if (c := _change(evaluation, item, system, key)) is not None])
    if len(changes) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = [changes[rng.integers(len(changes), size=len(changes))].mean() for _ in range(RESAMPLES)]
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Difference(float(changes.mean()), float(low), float(high), len(changes))


def compared_systems(evaluation: Evaluation) -> tuple[str, ...]:
    """The systems that stand against the suppressor."""
    return tuple(name for name in evaluation.systems if name not in (NOISY, DEGRADED))


def _change(evaluation: Evaluation, item: ItemResult, system: str, key: str) -> float | None:
    if not any(metric.key == key and metric.better == "zero" for metric in evaluation.metrics):
        return item.change(system, key)
    before, after = item.value(DEGRADED, key), item.value(system, key)
    return None if before is None or after is None else abs(after) - abs(before)


def _values(evaluation: Evaluation, system: str, key: str) -> list[float]:
    return [value for item in evaluation.items if (value := item.value(system, key)) is not None]


def _beyond(evaluation: Evaluation, system: str, key: str, limit: float) -> set[str]:
    """Stems whose change passes `limit` in the direction of its sign."""
    changes = {item.stem: item.change(system, key) for item in evaluation.items}
    return {stem for stem, c in changes.items() if c is not None and c * np.sign(limit) > abs(limit)}
