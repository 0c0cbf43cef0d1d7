"""Summaries over items: means, which items got worse, and how certain a difference is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from timbre_restore.evaluation.results import DEGRADED, NOISY, Evaluation, ItemResult, SystemResult
from timbre_restore.evaluation.statistics import interval

WORSE_PESQ = 0.1
WORSE_OSR = 0.01
SPEAKER = "speaker"


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences over `items` items, with its 95 % interval (None if there are too few for one).

    `speakers` is the number of voices the interval is over; None if each item counts as its own speaker.
    """

    mean: float
    low: float | None
    high: float | None
    items: int
    speakers: int | None = None


@dataclass(frozen=True)
class Worse:
    """Items that a system made worse than the suppressor's output, and how many items could be judged."""

    stems: tuple[str, ...]
    by_pesq: int
    by_osr: int
    judged: int
    judged_without_pesq: int


def mean(evaluation: Evaluation, system: str, key: str) -> float | None:
    """Mean over the items for which every system has a value; None if there are none. `missing` counts the others.

    Means over different items would compare recordings, not systems.
    """
    return mean_of(comparable(evaluation, key), system, key)


def mean_of(items: Sequence[ItemResult], system: str, key: str) -> float | None:
    """Mean over the items that have the value; None if none has."""
    values = [value for item in items if (value := item.value(system, key)) is not None]
    return float(np.mean(values)) if values else None


def comparable(evaluation: Evaluation, key: str, items: Sequence[ItemResult] | None = None) -> list[ItemResult]:
    """The items (of all, or of `items`) for which every system has a value, ignoring systems that never have one."""
    among = evaluation.items if items is None else items
    able = [name for name in evaluation.systems if any(i.value(name, key) is not None for i in evaluation.items)]
    return [item for item in among if all(item.value(name, key) is not None for name in able)]


def mean_count(evaluation: Evaluation, key: str) -> int:
    """How many items the means of a metric are over; 0 when no system has it."""
    there = any(item.value(name, key) is not None for item in evaluation.items for name in evaluation.systems)
    return len(comparable(evaluation, key)) if there else 0


def common(evaluation: Evaluation) -> list[ItemResult]:
    """The items for which every system has a usable output, ignoring systems that never have one."""
    able = [name for name in evaluation.systems if any(_usable(item, name) for item in evaluation.items)]
    return [item for item in evaluation.items if all(_usable(item, name) for name in able)]


def _usable(item: ItemResult, system: str) -> bool:
    return any(score.value is not None for score in item.systems[system].scores.values())


def moved(evaluation: Evaluation) -> dict[str, list[int]]:
    """Nonzero lags in samples that were removed, by system; a lag that stays is a failure."""
    found = {
        name: [lag for item in evaluation.items if (lag := _taken_out(item.systems[name]))]
        for name in evaluation.systems
    }
    return {name: lags for name, lags in found.items() if lags}


def _taken_out(result: SystemResult) -> int:
    return 0 if result.problem else result.lag_samples or 0


def absent(evaluation: Evaluation) -> dict[str, list[str]]:
    """By system, the items missing from its folder."""
    found = {name: [i.stem for i in evaluation.items if i.systems[name].missing] for name in evaluation.systems}
    return {name: stems for name, stems in found.items() if stems}


def missing(evaluation: Evaluation, system: str, key: str) -> dict[str, int]:
    """Why values are n/a: reason → number of items."""
    scores = [item.systems[system].scores[key] for item in evaluation.items]
    return dict(Counter(str(score.reason) for score in scores if score.value is None))


def worse(evaluation: Evaluation, system: str) -> Worse:
    """Items with PESQ down by more than 0.1, or full-band OSR up by more than 1 point, against the suppressor.

    An item counts as judged if at least one of the two metrics exists for both.
    """
    by_pesq = _beyond(evaluation, system, "pesq", -WORSE_PESQ)
    by_osr = _beyond(evaluation, system, "osr", WORSE_OSR)
    stems = tuple(i.stem for i in evaluation.items if i.stem in by_pesq or i.stem in by_osr)
    judged = [i for i in evaluation.items if any(i.change(system, key) is not None for key in ("pesq", "osr"))]
    deaf = [i for i in judged if i.change(system, "pesq") is None]
    return Worse(stems, len(by_pesq), len(by_osr), len(judged), len(deaf))


def difference(
    evaluation: Evaluation, system: str, key: str, *, items: Sequence[ItemResult] | None = None
) -> Difference | None:
    """The mean of paired differences to the suppressor over the items of `mean` (or `items`); None if there are none.

    The interval is that of `statistics.interval`, by speaker if the speaker of every item is known. For a signed metric
    that is best at zero, the difference is the change in distance to zero, so that less is better there too.
    """
    pairs = [
        (change, item)
        for item in comparable(evaluation, key, items)
        if (change := _change(evaluation, item, system, key)) is not None
    ]
    if not pairs:
        return None
    changes = np.array([change for change, _ in pairs])
    voices = speakers([item for _, item in pairs])
    bounds = interval(changes, voices)
    low, high = bounds if bounds else (None, None)
    return Difference(float(changes.mean()), low, high, len(pairs), len(set(voices)) if voices else None)


def _change(evaluation: Evaluation, item: ItemResult, system: str, key: str) -> float | None:
    if not any(metric.key == key and metric.better == "zero" for metric in evaluation.metrics):
        return item.change(system, key)
    before, after = item.value(DEGRADED, key), item.value(system, key)
    return None if before is None or after is None else abs(after) - abs(before)


def speakers(items: Sequence[ItemResult]) -> list[str] | None:
    """The speaker of each item; None if it is not known for all of them."""
    known = [str(item.facts[SPEAKER]) for item in items if SPEAKER in item.facts]
    return known if len(known) == len(items) else None


def compared_systems(evaluation: Evaluation) -> tuple[str, ...]:
    """The systems that are compared with the suppressor."""
    return tuple(name for name in evaluation.systems if name not in (NOISY, DEGRADED))


def _beyond(evaluation: Evaluation, system: str, key: str, limit: float) -> set[str]:
    """Stems whose change exceeds `limit` in the direction of its sign."""
    changes = {item.stem: item.change(system, key) for item in evaluation.items}
    return {stem for stem, c in changes.items() if c is not None and c * np.sign(limit) > abs(limit)}
