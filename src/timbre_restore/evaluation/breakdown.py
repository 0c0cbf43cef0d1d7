"""The same comparison by what is known of the items: SNR, level, speaker, noise, room, or whatever else is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from timbre_restore.evaluation import summary
from timbre_restore.evaluation.results import DEGRADED, Evaluation, ItemResult

SHOWN_GROUPS = 12
"""Of a fact in words, the largest ones; the others stand together."""
STEPS = 4
"""Of a fact in numbers: groups of like size."""
OTHERS = "others"
KEYS = ("osr", "osr_hf", "resid", "lsd", "pesq")


@dataclass(frozen=True)
class Group:
    """Items that share a fact: how many, means of the suppressor and of the system, and their difference, by metric."""

    name: str
    items: int
    before: Mapping[str, float | None]
    after: Mapping[str, float | None]
    change: Mapping[str, summary.Difference | None]


def breakdowns(evaluation: Evaluation, system: str) -> dict[str, list[Group]]:
    """By fact, where it parts the items into two groups at least and is known of half of them."""
    facts = dict.fromkeys(fact for item in evaluation.items for fact in item.facts)
    keys = [metric.key for metric in evaluation.metrics if metric.key in KEYS]
    found = {}
    for fact in facts:
        known = [item for item in evaluation.items if fact in item.facts]
        groups = _parted(known, fact)
        if len(groups) > 1 and 2 * len(known) >= len(evaluation.items):
            found[fact] = [_group(evaluation, system, name, items, keys) for name, items in groups.items()]
    return found


def _parted(items: Sequence[ItemResult], fact: str) -> dict[str, list[ItemResult]]:
    values = [item.facts[fact] for item in items]
    if all(isinstance(value, (int, float)) for value in values):
        return _by_number(items, np.array(values, dtype=np.float64))
    by_name: dict[str, list[ItemResult]] = {}
    for item in items:
        by_name.setdefault(str(item.facts[fact]) or "none", []).append(item)
    ordered = sorted(by_name.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    groups = dict(ordered[:SHOWN_GROUPS])
    if rest := [item for _, members in ordered[SHOWN_GROUPS:] for item in members]:
        groups[OTHERS] = rest
    return groups


def _by_number(items: Sequence[ItemResult], values: np.ndarray) -> dict[str, list[ItemResult]]:
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, STEPS + 1)))
    if len(edges) < 3:
        return {f"{value:g}": [i for i, v in zip(items, values, strict=True) if v == value] for value in edges}
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return {
        f"{edges[at]:.4g} … {edges[at + 1]:.4g}": [i for i, p in zip(items, place, strict=True) if p == at]
        for at in range(len(edges) - 1)
    }


def _group(evaluation: Evaluation, system: str, name: str, items: Sequence[ItemResult], keys: Sequence[str]) -> Group:
    change = {key: summary.difference(evaluation, system, key, items=items) for key in keys}
    before, after = ({key: _mean(items, of, key) for key in keys} for of in (DEGRADED, system))
    return Group(name, len(items), before, after, change)


def _mean(items: Sequence[ItemResult], system: str, key: str) -> float | None:
    values = [value for item in items if (value := item.value(system, key)) is not None]
    return float(np.mean(values)) if values else None
