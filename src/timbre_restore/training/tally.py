"""Means of an epoch's losses, by items, kept so that a resumed run has the very numbers of one that nobody disturbed.

Each loss has a count of its own: one that enters within an epoch, or that is not taken in every step, is a mean over
the items that it was taken of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Tally:
    """Sums over the items since the last line of the log, and over those of the epoch before it."""

    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    logged_sums: dict[str, float] = field(default_factory=dict)
    logged_items: dict[str, int] = field(default_factory=dict)


def count(tally: Tally, scalars: Mapping[str, torch.Tensor], items: int) -> None:
    """Take the means of a step over so many items."""
    for name, value in scalars.items():
        # By items, or the one item of a short last batch would count as much as a whole batch.
        weighted = value.detach().float() * items
        tally.sums[name] = tally.sums[name] + weighted if name in tally.sums else weighted
        tally.items[name] = tally.items.get(name, 0) + items
    tally.steps += 1


def join(tally: Tally, accelerator: Any) -> None:
    """Make the sums those of all processes, the same numbers in each, so that all of them decide alike."""
    if not tally.sums:
        return
    names = sorted(tally.sums)
    values = torch.stack([tally.sums[name].float() for name in names])
    tally.sums = dict(zip(names, accelerator.reduce(values, reduction="mean"), strict=True))


def means(tally: Tally) -> dict[str, float]:
    """Since the last line of the log."""
    return {name: float(value / tally.items[name]) for name, value in tally.sums.items()}


def logged(tally: Tally) -> Tally:
    """The tally after a line of the log."""
    sums, items = dict(tally.logged_sums), dict(tally.logged_items)
    for name, mean in means(tally).items():
        sums[name] = sums.get(name, 0.0) + mean * tally.items[name]
        items[name] = items.get(name, 0) + tally.items[name]
    return Tally(logged_sums=sums, logged_items=items)


def epoch_means(tally: Tally) -> dict[str, float]:
    """Of what of the epoch is in the log."""
    return {name: value / tally.logged_items[name] for name, value in tally.logged_sums.items()}


def to_record(tally: Tally) -> dict[str, Any]:
    """As plain numbers."""
    return {
        "sums": {name: float(value) for name, value in tally.sums.items()},
        "items": dict(tally.items),
        "steps": tally.steps,
        "logged_sums": dict(tally.logged_sums),
        "logged_items": dict(tally.logged_items),
    }


def from_record(record: Mapping[str, Any]) -> Tally:
    """The tally that `to_record` described."""
    sums = {name: torch.tensor(value) for name, value in record["sums"].items()}
    return Tally(sums, record["items"], record["steps"], record["logged_sums"], record["logged_items"])
