"""The page's figures: means, the operating curve, breakdowns, every item."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from timbre_restore.evaluation import summary, words
from timbre_restore.evaluation.breakdown import breakdowns
from timbre_restore.evaluation.curve import advantage, mean_curve
from timbre_restore.evaluation.results import DEGRADED, Evaluation, ItemResult
from timbre_restore.metrics import Metric
from timbre_restore.pages import Line, curves, table

ROW_LIMIT = 2_000


def means(evaluation: Evaluation) -> str:
    """Systems side by side, and how the restored one differs from the suppressor."""
    name = evaluation.restored
    columns = ["", *(escape(system) for system in evaluation.systems), f"{escape(name)} − degraded", ""]
    count = len(summary.common(evaluation))
    rows = [_row(evaluation, name, metric, count) for metric in words.whole(evaluation.metrics)]
    banded = [_row(evaluation, name, metric, count) for metric in evaluation.metrics if words.is_of_band(metric)]
    bands = f"<details><summary>By band</summary>{table(columns, banded)}</details>\n" if banded else ""
    note = (
        f"Mean over the {count} items for which every system has an output, or as many as a row says; ↓ lower is "
        "better, ↑ higher is better. Differences are paired, with a 95 % interval."
    )
    if any(metric.better == "zero" for metric in evaluation.metrics):
        note += f" {words.TO_ZERO}"
    if not evaluation.has_references:
        return f"<h2>Means</h2>\n{table(columns, rows)}<p><small>{note} {words.DEAF}</small></p>\n"
    return (
        f"<h2>Means</h2>\n{table(columns, rows)}<p><small>{note} Over-suppression: share of the voice's active cells "
        f"that lie more than 10 dB too low; residual noise: more than 10 dB too high. {words.WORSE} {words.DEAF}"
        f"</small></p>\n{bands}"
    )


def _row(evaluation: Evaluation, name: str, metric: Metric, usual: int) -> list[str]:
    values = [words.number(metric, summary.mean(evaluation, system, metric.key)) for system in evaluation.systems]
    found = summary.difference(evaluation, name, metric.key)
    said = words.verdict(metric, found) if found else ""
    mark = {"better": "good", "worse": "bad"}.get(said, "even")
    over = words.counted(evaluation, metric, usual)
    title = f"{escape(words.title(metric))} <small>{words.ARROWS[metric.better]}{over}</small>"
    return [title, *values, f'{words.change(metric, found)}</td><td class="verdict {mark}">{said}']


def operating_curve(evaluation: Evaluation) -> str:
    """Over-suppression against residual noise: each restorer from strength 0 to 1, the suppressor with its limits."""
    limits = mean_curve(evaluation, DEGRADED)
    found = {name: mean_curve(evaluation, name) for name in summary.compared_systems(evaluation)}
    found = {name: points for name, points in found.items() if points}
    if not limits or not found:
        return ""
    drawn = {**found, "the suppressor's limits, 6 to 48 dB": limits}
    points = [point for points in drawn.values() for point in points]
    right, top = (2.0 * math.ceil(51 * max(side)) for side in zip(*((p.resid, p.osr) for p in points), strict=True))
    lines = [
        Line(name, [100 * p.resid for p in points], [100 * p.osr for p in points], aside=points is limits, dots=True)
        for name, points in drawn.items()
    ]
    title = "Over-suppression (upwards) against residual noise (to the right)"
    figure = curves(title, lines, ("%", "%"), across=(0.0, right), up=(0.0, top))
    said = "".join(f"<p>{_advantage(name, advantage(points, limits))}</p>" for name, points in found.items())
    return (
        f'<h2>Operating curve</h2>\n<div class="large">{figure}</div>\n{said}'
        "<p><small>Lower and further left is better. A curve below that of the limits gives back more voice for the "
        "same noise. Dots are strengths 0 (the suppressor, left), 0.1 … 1 (right).</small></p>\n"
    )


def _advantage(name: str, found: dict[float, float]) -> str:
    if not found:
        return (
            f"{escape(name)}: its residual noise is outside the range that the limits leave, so they can't be compared."
        )
    shown = "; ".join(f"{100 * gain:+.1f} at {amount:g}".replace("-", "−") for amount, gain in found.items() if amount)
    return (
        f"{escape(name)}: percentage points less over-suppression than a limit with the same residual noise, by "
        f"strength: {shown}."
    )


def broken_down(evaluation: Evaluation) -> str:
    """One table per fact: means of the suppressor and of the restored system, and their difference."""
    by_key = {metric.key: metric for metric in evaluation.metrics}
    parts = []
    for fact, groups in breakdowns(evaluation, evaluation.restored).items():
        keys = list(groups[0].change)
        columns = [escape(fact), "items", *(escape(words.title(by_key[key])) for key in keys)]
        rows = [
            [
                escape(group.name), str(group.items),
                *(
                    f"{words.number(by_key[key], group.before[key])} → {words.number(by_key[key], group.after[key])}"
                    f"<br><small>{words.change(by_key[key], group.change[key])}</small>"
                    for key in keys
                ),
            ]
            for group in groups
        ]  # fmt: skip
        parts.append(f"<details><summary>By {escape(fact)}</summary>{table(columns, rows)}</details>\n")
    return f"<h2>Breakdown</h2>\n{''.join(parts)}" if parts else ""


def items(evaluation: Evaluation) -> str:
    """The change of each item, so that none is hidden by the mean; worst first."""
    name = evaluation.restored
    worse = set(summary.worse(evaluation, name).stems)
    shown = [m for m in evaluation.metrics if m.key in ("osr", "osr_hf", "resid", "lsd", "sisdr", "pesq", "estoi")]
    columns = ["item", *(escape(words.title(metric)) for metric in shown), ""]
    ordered = worst_first(evaluation)
    rows = []
    for item in ordered[:ROW_LIMIT]:
        pairs = [(m, item.value(DEGRADED, m.key), item.value(name, m.key)) for m in shown]
        cells = [f"{words.number(m, before)} → {words.number(m, after)}" for m, before, after in pairs]
        rows.append([escape(item.stem), *cells, "worse" if item.stem in worse else ""])
    which = "All items" if len(rows) == len(ordered) else f"{len(rows)} of {len(ordered)} items, worst first"
    return f"<details><summary>{which}, degraded → {escape(name)}</summary>{table(columns, rows)}</details>\n"


def worst_first(evaluation: Evaluation) -> list[ItemResult]:
    """Items ordered by their change in over-suppression, largest first; items without one come last."""

    def change(item: ItemResult) -> float:
        found = item.change(evaluation.restored, "osr")
        return -np.inf if found is None else found

    return sorted(evaluation.items, key=change, reverse=True)
