"""Verdicts and changes as tables for the terminal and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from timbre_restore.evaluation.gate.judge import Change, Side, Verdict
from timbre_restore.evaluation.gate.margins import Margin
from timbre_restore.evaluation.gate.rules import Files
from timbre_restore.evaluation.words import ARROWS, NOT_AVAILABLE, SPACE, TO_ZERO, number, title
from timbre_restore.metrics import Metric

OK, FAIL = "ok", "FAIL"


def verdict_table(verdicts: Sequence[Verdict], files: Files) -> RenderableType:
    """A row per rule, with the values of both sides and how certain the verdict is."""
    against = f" and {files.old.place}" if files.old else ""
    table = Table(title=Text(f"{files.judged} in {files.new.place}{against}"), title_justify="left")
    for heading in ("fails if", "left", "right", "", "how sure"):
        table.add_column(heading, justify="right" if heading in ("left", "right") else "left", overflow="fold")
    for verdict in verdicts:
        left, right = (
            "\n".join(shown(side.metric, side.values[at]) for side in verdict.sides) or NOT_AVAILABLE for at in (0, 1)
        )
        said = Text(OK, style="green") if verdict.holds else Text(FAIL, style="bold red")
        table.add_row(Text(_rule(verdict)), Text(left), Text(right), said, Text(_sure(verdict)))
    lines = [f"{verdict.rule.name or verdict.rule.text}: {line}." for verdict in verdicts for line in verdict.remarks]
    return Group(table, *map(Text, lines))


def verdicts_as_json(verdicts: Sequence[Verdict], files: Files) -> dict[str, Any]:
    """The same for machines: `passed`, and every rule with its unformatted numbers (rates as fractions)."""
    return {
        "passed": all(verdict.holds for verdict in verdicts),
        "system": files.judged,
        "new": files.new.place,
        "old": files.old.place if files.old else None,
        "rules": [
            {
                "rule": verdict.rule.text,
                "name": verdict.rule.name,
                "holds": verdict.holds,
                "reason": verdict.reason or None,
                "items": verdict.items,
                "left_out": list(verdict.remarks),
                "comparisons": [_side_json(side) for side in verdict.sides],
            }
            for verdict in verdicts
        ],
    }


def change_table(changes: Sequence[Change], *, system: str, against: str, new: str, old: str) -> RenderableType:
    """Two systems metric by metric, with paired differences."""
    after, before = (system, against) if new == old else (f"{system} in {new}", f"{against} in {old}")
    table = Table(title="Means over common items, and paired differences", title_justify="left")
    for heading in ("metric", before, after, "difference (95 %)", "", "items"):
        table.add_column(Text(heading), justify="left" if heading in ("metric", "") else "right", overflow="fold")
    for change in changes:
        values = (shown(change.metric, value) for value in (change.before, change.after))
        name = f"{title(change.metric)} {_arrow(change.metric)}" if change.metric else change.key
        left_out = f" ({change.left_out} n/a)" if change.left_out else ""
        table.add_row(
            Text(name), *(Text(value) for value in values), Text(_difference(change)), Text(_direction(change)),
            f"{change.items}{left_out}",
        )  # fmt: skip
    if any(change.metric is not None and change.metric.better == "zero" for change in changes):
        table.caption, table.caption_justify = TO_ZERO, "left"
    return table


def changes_as_json(changes: Sequence[Change], *, system: str, against: str, new: str, old: str) -> dict[str, Any]:
    """The same for machines."""
    return {
        "system": system,
        "against": against,
        "new": new,
        "old": old,
        "metrics": {
            change.key: {
                "before": change.before,
                "after": change.after,
                "difference": _difference_json(change),
                "left_out": change.left_out,
            }
            for change in changes
        },
    }


def shown(metric: Metric | None, value: float | None) -> str:
    """A value with its unit; four significant digits if it has none."""
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    if metric is None:
        return f"{value:.4g}".replace("-", "−")
    return number(metric, value) + (SPACE + metric.unit if metric.unit else "")


def _rule(verdict: Verdict) -> str:
    rule = verdict.rule
    return f"{rule.name}\n  {rule.text}" if rule.name else rule.text


def _sure(verdict: Verdict) -> str:
    if verdict.reason:
        return f"can't be judged: {verdict.reason}"
    return "\n".join(f"{_margin(side)}, {verdict.items} items" for side in verdict.sides)


def _margin(side: Side) -> str:
    """'by −5.2 (−6.1 … −4.4), clear'."""
    if side.bounded:
        return "bound of the 95 % interval"
    if side.margin is None:
        return "no interval"
    clear = "clear" if side.margin.clear else "could be chance"
    return f"by {_interval(side.metric, side.margin)}, {clear}"


def _interval(metric: Metric | None, margin: Margin | None) -> str:
    if margin is None:
        return NOT_AVAILABLE
    mean, low, high = (_signed(metric, value) for value in (margin.mean, margin.low, margin.high))
    return f"{mean} ({low} … {high})"


def _difference(change: Change) -> str:
    """The difference, with its interval if there is one."""
    if change.margin is not None or change.difference is None:
        return _interval(change.metric, change.margin)
    return f"{_signed(change.metric, change.difference)} (no interval)"


def _signed(metric: Metric | None, value: float) -> str:
    return number(metric, value, signed=True) if metric else f"{value:+.4g}".replace("-", "−")


def _direction(change: Change) -> str:
    if change.margin is None or change.metric is None:
        return ""
    if not change.margin.clear:
        return "no clear difference"
    return "better" if (change.margin.mean < 0.0) == (change.metric.better != "higher") else "worse"


def _arrow(metric: Metric) -> str:
    return ARROWS[metric.better]


def _side_json(side: Side) -> dict[str, Any]:
    return {
        "left": side.words[0],
        "operator": side.operator,
        "right": side.words[1],
        "values": list(side.values),
        "margin": _margin_json(side.margin),
    }


def _difference_json(change: Change) -> dict[str, float | None] | None:
    if change.difference is None:
        return None
    low, high = (change.margin.low, change.margin.high) if change.margin else (None, None)
    return {"mean": change.difference, "low": low, "high": high, "items": change.items}


def _margin_json(margin: Margin | None) -> dict[str, float] | None:
    if margin is None:
        return None
    return {"mean": margin.mean, "low": margin.low, "high": margin.high, "items": margin.items}
