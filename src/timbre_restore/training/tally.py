"""Means of an epoch's losses over items, stored so that a resumed run has exactly the numbers of an uninterrupted one.

Each loss has its own count: a loss that starts within an epoch, or that is not computed in every step, is a mean over
the items for which it was computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Tally:
    """Sums over the items since the last log line, and over the earlier items of the epoch."""

    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    logged_sums: dict[str, float] = field(default_factory=dict)
    logged_items: dict[str, int] = field(default_factory=dict)


def count(tally: Tally, scalars: Mapping[str, torch.Tensor], items: int) -> None:
    """Add the means of a step over `items` items."""
    for name, value in scalars.items():
        # Weighted by items; otherwise the single item of a short last batch would count as much as a whole batch.
        weighted = value.detach().float() * items
        tally.sums[name] = tally.sums[name] + weighted if name in tally.sums else weighted
        tally.items[name] = tally.items.get(name, 0) + items
    tally.steps += 1


def join(tally: Tally, accelerator: Any) -> None:
    """Combine the sums of all processes, with the same result in each, so that all make the same decisions."""
    if not tally.sums:
        return
    names = sorted(tally.sums)
    # Sums of a resumed run come from the CPU.
    values = torch.stack([tally.sums[name].float().to(accelerator.device) for name in names])
    tally.sums = dict(zip(names, accelerator.reduce(values, reduction="mean"), strict=True))


def means(tally: Tally) -> dict[str, float]:
    """Means since the last log line."""
    return {name: float(value / tally.items[name]) for name, value in tally.sums.items()}


def logged(tally: Tally) -> Tally:
    """The tally after a log line is written."""
    sums, items = dict(tally.logged_sums), dict(tally.logged_items)
    for name, mean in means(tally).items():
        sums[name] = sums.get(name, 0.0) + mean * tally.items[name]
        items[name] = items.get(name, 0) + tally.items[name]
    return Tally(logged_sums=sums, logged_items=items)


def epoch_means(tally: Tally) -> dict[str, float]:
    """Means over the part of the epoch that is in the log."""
    return {name: value / tally.logged_items[name] for name, value in tally.logged_sums.items()}


def to_record(tally: Tally) -> dict[str, Any]:
    """The tally as plain numbers."""
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
