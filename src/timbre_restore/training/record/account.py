"""A run read back from its folder alone: its log, its description, and its best and last checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from timbre_restore.training.monitors.bands import phase_of

Entry = dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """A phase of a run, in steps."""

    name: str
    begin: int
    end: int


@dataclass(frozen=True)
class Account:
    """The records of a run."""

    run: Path
    train: list[Entry]
    epochs: list[Entry]
    events: list[Entry]
    record: Entry = field(default_factory=dict)
    """Content of `run.json`; if there is none, the equivalent from the last checkpoint."""
    best: Entry = field(default_factory=dict)
    """`{"folder", "epoch", "step", "metrics"}` of the best checkpoint; empty before there is one."""
    last: Entry = field(default_factory=dict)
    """The same for the last checkpoint."""

    @property
    def step(self) -> int:
        """The last step in the log."""
        return max((entry["step"] for entry in (*self.train, *self.epochs, *self.events)), default=0)

    @property
    def seconds(self) -> float | None:
        """Seconds of training over all parts of the run; None if the log has no times."""
        return max((e["seconds"] for e in (*self.train, *self.epochs) if is_number(e.get("seconds"))), default=None)

    @property
    def epochs_done(self) -> float:
        """Completed epochs including their validation; has a fraction if the run ended within an epoch."""
        return max((float(entry.get("epoch", 0)) for entry in self.epochs), default=0.0)

    @property
    def is_done(self) -> bool:
        """Whether the end of the plan is reached, to a thousandth of an epoch, because that end is a quotient."""
        planned = self.plan("epochs")
        return planned is not None and self.epochs_done > planned - 1e-3

    def plan(self, name: str) -> Any:
        """A value of the run's plan: `epochs`, `epoch_steps`, …; None if it isn't known."""
        return self.record.get("plan", {}).get(name)

    def batches_per_s(self, *, gan: bool) -> float | None:
        """Median over the log intervals before the GAN, or with it."""
        rates = [e["batches_per_s"] for e in self.train if is_number(e.get("batches_per_s")) and _gan(e) == gan]
        return median(rates) if rates else None

    def phases(self) -> list[Phase]:
        """The phases in order; each begins where the previous one ends."""
        found: list[Phase] = []
        for entry in self.train:
            name = phase_of(
                entry.get("place", entry.get("epoch", 1) - 1),
                warmup_epochs=self.plan("warmup_epochs") or 0,
                gan=_gan(entry),
            )
            if found and found[-1].name == name:
                found[-1] = Phase(name, found[-1].begin, entry["step"])
            else:
                found.append(Phase(name, found[-1].end if found else 0, entry["step"]))
        return found

    def series(self, name: str, entries: Sequence[Entry]) -> tuple[list[int], list[float]]:
        """Steps and values of `name` in lines of the log; a value that is not a number becomes NaN."""
        found = [(e["step"], value_of(e[name])) for e in entries if name in e]
        return [step for step, _ in found], [value for _, value in found]


def read_account(run: Path) -> Account:
    """Read the folder of a run. Truncated lines, and files left incomplete by a killed process, are skipped."""
    lines: dict[str, list[Entry]] = {"train": [], "epoch": [], "event": []}
    path = run / "log.jsonl"
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        entry = _json(text)
        if entry.get("kind") in lines and isinstance(entry.get("step"), int):
            lines[entry["kind"]].append(entry)
    best, last = (_checkpoint(run, which) for which in ("best", "last"))
    record = _file(run / "run.json") or _record_of(last)
    shown = [{key: c.get(key) for key in ("folder", "epoch", "step", "metrics")} if c else {} for c in (best, last)]
    return Account(run, lines["train"], lines["epoch"], lines["event"], record, *shown)


def is_number(value: object) -> bool:
    """Whether `value` is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def value_of(value: object) -> float:
    """`value` as a float; NaN if it is not a number."""
    return float(value) if isinstance(value, int | float) else math.nan


def bundled(
    x: Sequence[int], y: Sequence[float], most: int
) -> tuple[list[float], list[float], list[tuple[float, float]]]:
    """Reduce a long series to at most `most` points: the mean of each group, and its lowest and highest value.

    A group that contains a NaN becomes NaN, so that it does not vanish in a mean. A short series is returned unchanged,
    without a spread.
    """
    if len(x) <= most:
        return [float(value) for value in x], list(y), []
    edges = [index * len(x) // most for index in range(most + 1)]
    places, means, spreads = [], [], []
    for begin, end in pairwise(edges):
        values = y[begin:end]
        places.append(float(x[end - 1]))
        means.append(sum(values) / len(values))
        spreads.append((min(values), max(values)))
    return places, means, spreads


def _gan(entry: Mapping[str, Any]) -> bool:
    return "d_real" in entry


def _checkpoint(run: Path, which: str) -> Entry:
    root = run / "checkpoints"
    folder = str(_file(root / f"{which}.json").get("folder", ""))
    return _file(root / folder / "checkpoint.json") | {"folder": folder} if folder else {}


def _record_of(checkpoint: Entry) -> Entry:
    """The description of a run from its checkpoint, for older versions without `run.json`."""
    training = checkpoint.get("settings", {}).get("training", {})
    if not training:
        return {}
    order = checkpoint.get("order", {})
    plan = {
        "epochs": training.get("epochs"),
        "warmup_epochs": training.get("scheduler", {}).get("warmup_epochs"),
        "best_metric": training.get("best_metric"),
    }
    return {"plan": plan, "order": order, "corpus": checkpoint["settings"].get("data", {}).get("output_dir")}


def _file(path: Path) -> Entry:
    try:
        return _json(path.read_text(encoding="utf-8"))
    except OSError:
        return {}


def _json(text: str) -> Entry:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
