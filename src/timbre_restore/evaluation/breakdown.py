"""The same comparison grouped by facts about the items: SNR, level, speaker, noise, room, or anything else known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timbre_restore.evaluation import summary
from timbre_restore.evaluation.results import DEGRADED, Evaluation, ItemResult

SHOWN_GROUPS = 12
"""For a textual fact, only the largest groups are shown; the others are combined."""
STEPS = 4
"""A numeric fact is split into this many groups of similar size."""
OTHERS = "others"
KEYS = ("osr", "osr_hf", "resid", "lsd", "pesq")


@dataclass(frozen=True)
class Group:
    """Items that share a fact: their number and, by metric, means of suppressor and system and their difference."""

    name: str
    items: int
    before: Mapping[str, float | None]
    after: Mapping[str, float | None]
    change: Mapping[str, summary.Difference | None]


def breakdowns(evaluation: Evaluation, system: str) -> dict[str, list[Group]]:
    """Groups by fact, for facts known of at least half of the items that split them into at least two groups."""
    facts = dict.fromkeys(fact for item in evaluation.items for fact in item.facts)
    keys = [metric.key for metric in evaluation.metrics if metric.key in KEYS]
    found = {}
    for fact in facts:
        known = [item for item in evaluation.items if fact in item.facts]
        groups = _parted(known, fact)
        if len(groups) > 1 and 2 * len(known) >= len(evaluation.items):
            found[fact] = [_group(evaluation, system, name, items, keys) for name, items in groups]
    return found


Parts = list[tuple[str, list[ItemResult]]]


def _parted(items: Sequence[ItemResult], fact: str) -> Parts:
    numbers = [(item, value) for item in items if isinstance(value := item.facts[fact], (int, float))]
    if numbers:  # possibly mixed with text, such as 'inf' for speech without noise
        numbered, values = zip(*numbers, strict=True)
        others = [item for item in items if not isinstance(item.facts[fact], (int, float))]
        return _by_number(numbered, np.array(values, dtype=np.float64)) + _by_name(others, fact)
    return _by_name(items, fact)


def _by_name(items: Sequence[ItemResult], fact: str) -> Parts:
    by_name: dict[str, list[ItemResult]] = {}
    for item in items:
        by_name.setdefault(str(item.facts[fact]) or "none", []).append(item)
    ordered = sorted(by_name.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    rest = [item for _, members in ordered[SHOWN_GROUPS:] for item in members]
    return ordered[:SHOWN_GROUPS] + ([(OTHERS, rest)] if rest else [])


def _by_number(items: Sequence[ItemResult], values: NDArray[np.float64]) -> Parts:
    """One group per value if there are few values, otherwise groups of similar size split at quantiles."""
    different = np.unique(values)
    if len(different) <= STEPS:
        return [(f"{value:g}", [i for i, v in zip(items, values, strict=True) if v == value]) for value in different]
    inner = np.unique(np.quantile(values, np.linspace(0.0, 1.0, STEPS + 1)[1:-1]))
    place = np.searchsorted(inner, values, side="right")
    groups: Parts = []
    for at in range(len(inner) + 1):
        members = np.flatnonzero(place == at).tolist()
        if members:
            low, high = values[members].min(), values[members].max()
            name = f"{low:.6g}" if low == high else f"{low:.6g} … {high:.6g}"
            groups.append((name, [items[index] for index in members]))
    return groups


def _group(evaluation: Evaluation, system: str, name: str, items: Sequence[ItemResult], keys: Sequence[str]) -> Group:
    before, after = ({key: _mean(evaluation, items, of, key) for key in keys} for of in (DEGRADED, system))
    change = {key: summary.difference(evaluation, system, key, items=items) for key in keys}
    return Group(name, len(items), before, after, change)


def _mean(evaluation: Evaluation, items: Sequence[ItemResult], system: str, key: str) -> float | None:
    return summary.mean_of(summary.comparable(evaluation, key, items), system, key)
