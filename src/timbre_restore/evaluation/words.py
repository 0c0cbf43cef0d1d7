"""Numbers as words: the same on the console and on the page."""

from __future__ import annotations

from timbre_restore.evaluation import summary
from timbre_restore.evaluation.results import DEGRADED, RESTORED, Evaluation
from timbre_restore.metrics import Metric

NOT_AVAILABLE = "n/a"
SPACE = "\u00a0"  # keeps a number and its unit on one line
WORSE = (
    f"An item got worse when PESQ fell by more than {summary.WORSE_PESQ} or over-suppression rose by more than "
    f"{100 * summary.WORSE_OSR:.0f} point against the suppressor alone."
)
DEAF = "Metrics marked 'at 16 kHz' or 'at 10 kHz' hear nothing above 8 kHz."


def title(metric: Metric) -> str:
    """'PESQ-WB, MOS (at 16 kHz)'."""
    unit = f", {metric.unit}" if metric.unit else ""
    return metric.name + unit + (f" (at {metric.rate_hz // 1000} kHz)" if metric.remark else "")


def number(metric: Metric, value: float | None, *, signed: bool = False) -> str:
    """A value in the metric's unit with two places; rates as per cent, with one from 1 % upwards."""
    if value is None:
        return NOT_AVAILABLE
    scaled = 100.0 * value if metric.unit == "%" else value
    places = 1 if metric.unit == "%" and abs(scaled) >= 1.0 else 2
    if abs(scaled) < 0.5 * 10.0**-places:
        scaled = 0.0  # no '−0.00'
    text = f"{scaled:+.{places}f}" if signed and scaled else f"{scaled:.{places}f}"
    return text.replace("-", "−")


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
    return "better" if (found.mean < 0.0) == (metric.better != "higher") else "worse"


def sentence(evaluation: Evaluation) -> str:
    """What was measured on these items, in the order of the metrics, and no more than that."""
    by_verdict: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
    for metric in evaluation.metrics:
        found = summary.difference(evaluation, RESTORED, metric.key)
        if found is not None:
            by_verdict[verdict(metric, found)].append(_phrase(evaluation, metric))
    count = len(evaluation.items)
    start = f"On {'this item' if count == 1 else f'these {count} items'}, restored against the suppressor alone"
    if not any(by_verdict.values()):
        return start + ": too few items for an interval, so no difference is claimed."
    described = [f"{name}: {', '.join(phrases)}" for name, phrases in by_verdict.items() if phrases]
    return f"{start} (95{SPACE}% interval). {_capital('; '.join(described))}."


def worse_sentence(evaluation: Evaluation, system: str) -> str:
    """'restored: 3 of 48 items got worse (2 by PESQ, 1 by over-suppression).'"""
    found = summary.worse(evaluation, system)
    if not found.judged:
        return f"{system}: no item could be judged worse or not."
    why = f" ({found.by_pesq} by PESQ, {found.by_osr} by over-suppression)" if found.stems else ""
    limits = f" PESQ is n/a for {found.judged_without_pesq} of them." if found.judged_without_pesq else ""
    return f"{system}: {len(found.stems)} of {found.judged} items got worse{why}.{limits}"


def missing_sentences(evaluation: Evaluation) -> list[str]:
    """One line per reason, with the metrics and systems that have no value for it."""
    systems: dict[tuple[str, int, str], list[str]] = {}
    for metric in evaluation.metrics:
        for system in evaluation.systems:
            for reason, count in summary.missing(evaluation, system, metric.key).items():
                systems.setdefault((reason, count, metric.name), []).append(system)
    names: dict[tuple[str, int, str], list[str]] = {}
    for (reason, count, name), found in systems.items():
        where = "all systems" if len(found) == len(evaluation.systems) else ", ".join(found)
        names.setdefault((reason, count, where), []).append(name)
    total = len(evaluation.items)
    return [
        f"n/a for {count} of {total} items in {where} ({reason}): {'; '.join(metrics)}."
        for (reason, count, where), metrics in names.items()
    ]


def _phrase(evaluation: Evaluation, metric: Metric) -> str:
    before, after = (summary.mean(evaluation, name, metric.key) for name in (DEGRADED, RESTORED))
    unit = SPACE + metric.unit if metric.unit else ""
    remark = f" ({metric.remark.replace(' ', SPACE)})" if metric.remark else ""
    arrow = f"{SPACE}→{SPACE}"
    return f"{metric.name}{remark} {number(metric, before)}{arrow}{number(metric, after)}{unit}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
