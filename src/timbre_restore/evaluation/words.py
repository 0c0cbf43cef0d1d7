"""Numbers as words: the same on the console and on the page."""

from __future__ import annotations

from timbre_restore.evaluation import summary
from timbre_restore.evaluation.results import DEGRADED, RESTORED, Evaluation
from timbre_restore.metrics import Metric

NOT_AVAILABLE = "n/a"
DEAF = "Metrics marked 'at 16 kHz' or 'at 10 kHz' hear nothing above 8 kHz."


def title(metric: Metric) -> str:
    """'PESQ-WB, MOS (at 16 kHz)'."""
    unit = f", {metric.unit}" if metric.unit else ""
    return metric.name + unit + (f" (at {metric.rate_hz // 1000} kHz)" if metric.remark else "")


def number(metric: Metric, value: float | None, *, signed: bool = False) -> str:
    """A value in the metric's unit: rates as per cent, MOS and ESTOI with two places, dB with one."""
    if value is None:
        return NOT_AVAILABLE
    scaled, places = (100.0 * value, 1) if metric.unit == "%" else (value, 1 if metric.unit == "dB" else 2)
    if abs(scaled) < 0.5 * 10.0**-places:
        scaled = 0.0  # no '-0.0'
    return f"{scaled:+.{places}f}" if signed and scaled else f"{scaled:.{places}f}"


def unit_of_change(metric: Metric) -> str:
    """A difference of rates is in points, not in per cent."""
    return "points" if metric.unit == "%" else metric.unit


def change(evaluation: Evaluation, system: str, metric: Metric) -> str:
    """'−4.2 (−5.0 … −3.1)', or n/a with fewer than two items."""
    found = summary.difference(evaluation, system, metric.key)
    if found is None:
        return NOT_AVAILABLE
    low, high = (number(metric, x, signed=True) for x in (found.low, found.high))
    return f"{number(metric, found.mean, signed=True)} ({low} … {high})"


def verdict(metric: Metric, found: summary.Difference) -> str:
    """'better', 'worse' or 'not told apart', by whether the interval leaves zero out."""
    if found.low <= 0.0 <= found.high:
        return "not told apart"
    return "better" if (found.mean < 0.0) == (metric.better == "lower") else "worse"


def sentence(evaluation: Evaluation) -> str:
    """What was measured on these items, in the order of the metrics, and no more than that."""
    by_verdict: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
    for metric in evaluation.metrics:
        found = summary.difference(evaluation, RESTORED, metric.key)
        if found is not None:
            by_verdict[verdict(metric, found)].append(_phrase(evaluation, metric))
    count = len(evaluation.items)
    parts = [f"On {'this item' if count == 1 else f'these {count} items'}, restored against the suppressor alone"]
    if not any(by_verdict.values()):
        return parts[0] + ": too few items for an interval, so no difference is claimed."
    described = [f"{name}: {', '.join(phrases)}" for name, phrases in by_verdict.items() if phrases]
    return f"{parts[0]} (95 % interval). {_capital('; '.join(described))}."


def worse_sentence(evaluation: Evaluation, system: str) -> str:
    """'3 of 48 items got worse (PESQ down by more than 0.1: 2; over-suppression up by more than 1 point: 1).'"""
    found = summary.worse(evaluation, system)
    if not found.judged:
        return f"{system}: no item could be judged worse or not."
    return (
        f"{system}: {len(found.stems)} of {found.judged} items got worse than the suppressor left them "
        f"(PESQ down by more than {summary.WORSE_PESQ}: {found.by_pesq}; over-suppression up by more than "
        f"{100 * summary.WORSE_OSR:.0f} point: {found.by_osr})."
    )


def missing_sentences(evaluation: Evaluation) -> list[str]:
    """One line per metric, reason and group of systems for which values are n/a."""
    found: dict[tuple[str, str, int], list[str]] = {}
    for metric in evaluation.metrics:
        for system in evaluation.systems:
            for reason, count in summary.missing(evaluation, system, metric.key).items():
                found.setdefault((metric.name, reason, count), []).append(system)
    total = len(evaluation.items)
    return [
        f"{name} is n/a for {count} of {total} items ({', '.join(systems)}): {reason}"
        for (name, reason, count), systems in found.items()
    ]


def _phrase(evaluation: Evaluation, metric: Metric) -> str:
    before, after = (summary.mean(evaluation, name, metric.key) for name in (DEGRADED, RESTORED))
    unit = f" {metric.unit}" if metric.unit else ""
    remark = f" ({metric.remark})" if metric.remark else ""
    return f"{metric.name}{remark} {number(metric, before)} → {number(metric, after)}{unit}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
