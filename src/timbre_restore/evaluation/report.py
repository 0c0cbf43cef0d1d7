"""The evaluation as JSON, for machines."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from timbre_restore.atomic import write_json
from timbre_restore.evaluation import summary, words
from timbre_restore.evaluation.breakdown import Group, breakdowns
from timbre_restore.evaluation.curve import mean_curve
from timbre_restore.evaluation.results import Evaluation

# Finer than any metric's meaningful precision, coarser than the last bits, which differ between processors.
DIGITS = 9


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """`systems` by name with `mean` and `items`, plus everything that qualifies them. An n/a value is null."""
    compared = summary.compared_systems(evaluation)
    return {
        "systems": {name: _system(evaluation, name) for name in evaluation.systems},
        "item_count": len(evaluation.items),
        "items_of_mean": {m.key: summary.mean_count(evaluation, m.key) for m in evaluation.metrics},
        "metrics": {
            m.key: {"name": m.name, "unit": m.unit, "better": m.better, "rate_hz": m.rate_hz, "remark": m.remark}
            for m in evaluation.metrics
        },
        "not_available": {name: _missing(evaluation, name) for name in evaluation.systems},
        "worse": {name: asdict(summary.worse(evaluation, name)) for name in compared},
        "difference": {name: _differences(evaluation, name) for name in compared},
        "breakdown": {
            fact: [_group(group) for group in groups]
            for fact, groups in breakdowns(evaluation, evaluation.restored).items()
        },
        "curve": {
            name: [asdict(p) for p in points] for name in evaluation.systems if (points := mean_curve(evaluation, name))
        },
        "facts": {item.stem: dict(item.facts) for item in evaluation.items if item.facts},
        "remarks": {item.stem: list(item.remarks) for item in evaluation.items if item.remarks},
        "unclaimed": words.unclaimed(evaluation),
        "lag_samples": {
            name: {item.stem: item.systems[name].lag_samples for item in evaluation.items}
            for name in evaluation.systems
        },
        "failures": [asdict(failure) for failure in evaluation.failures],
    }


def write_report(evaluation: Evaluation, path: Path) -> None:
    """Write `as_json` to `path` by rename."""
    write_json(path, as_json(evaluation))


def _system(evaluation: Evaluation, name: str) -> dict[str, Any]:
    keys = [metric.key for metric in evaluation.metrics]
    return {
        "mean": {key: _rounded(summary.mean(evaluation, name, key)) for key in keys},
        "items": {item.stem: {key: _rounded(item.value(name, key)) for key in keys} for item in evaluation.items},
    }


def _missing(evaluation: Evaluation, name: str) -> dict[str, dict[str, int]]:
    reasons = {metric.key: summary.missing(evaluation, name, metric.key) for metric in evaluation.metrics}
    return {key: counts for key, counts in reasons.items() if counts}


def _differences(evaluation: Evaluation, name: str) -> dict[str, Any]:
    found = {m.key: summary.difference(evaluation, name, m.key) for m in evaluation.metrics}
    return {
        key: {
            "mean": _rounded(d.mean), "low": _rounded(d.low), "high": _rounded(d.high),
            "items": d.items, "speakers": d.speakers,
        }
        for key, d in found.items()
        if d is not None
    }  # fmt: skip


def _group(group: Group) -> dict[str, Any]:
    record = asdict(group)
    for side in ("before", "after"):
        record[side] = {key: _rounded(value) for key, value in record[side].items()}
    return record


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
