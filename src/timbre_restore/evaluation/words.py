"""Numbers and sentences as text, the same on the console and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from timbre_restore.evaluation import summary
from timbre_restore.evaluation.results import DEGRADED, Evaluation
from timbre_restore.metrics import Metric

NOT_AVAILABLE = "n/a"
SPACE = "\u00a0"  # keeps a number and its unit on one line
WORSE = (
    f"An item counts as worse if PESQ fell by more than {summary.WORSE_PESQ} or over-suppression rose by more than "
    f"{100 * summary.WORSE_OSR:.0f} point compared with the suppressor alone."
)
ARROWS = {"lower": "↓", "higher": "↑", "zero": "→ 0"}
TO_ZERO = "→ 0: best at zero; the difference is the change in distance to zero."
HEADLINE = ("osr", "osr_hf", "resid", "resid_hf", "lsd", "sisdr", "pesq", "estoi")
"""The metrics that the summary sentence mentions."""
DEAF = "Metrics marked 'at 16 kHz' or 'at 10 kHz' hear nothing above 8 kHz."


def title(metric: Metric) -> str:
    """'PESQ-WB, MOS (at 16 kHz)'."""
    unit = f", {metric.unit}" if metric.unit else ""
    return metric.name + unit + (f" (at {metric.rate_hz // 1000} kHz)" if metric.remark else "")


def whole(metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics that are not limited to one band: what fits into a table."""
    return [metric for metric in metrics if not is_of_band(metric)]


def is_of_band(metric: Metric) -> bool:
    """Whether the metric is one of a series over frequency bands."""
    return metric.key.rpartition("_")[2].isdigit()


def counted(evaluation: Evaluation, metric: Metric, usual: int) -> str:
    """How many items a metric's means are over, where these are not the usual ones."""
    count = summary.mean_count(evaluation, metric.key)
    return f" (over {count})" if count not in (0, usual) else ""


def number(metric: Metric, value: float | None, *, signed: bool = False) -> str:
    """A value in the metric's unit with two decimals; rates in per cent, with one decimal from 1 % upwards."""
    if value is None:
        return NOT_AVAILABLE
    scaled = 100.0 * value if metric.unit == "%" else value
    places = 1 if metric.unit == "%" and abs(scaled) >= 1.0 else 2
    if abs(scaled) < 0.5 * 10.0**-places:
        scaled = 0.0  # no '−0.00'
    text = f"{scaled:+.{places}f}" if signed and scaled else f"{scaled:.{places}f}"
    return text.replace("-", "−")


def change(metric: Metric, found: summary.Difference | None) -> str:
    """'−4.2 (−5.0 … −3.1)', without the interval if there is none, 'n/a' without a difference."""
    if found is None:
        return NOT_AVAILABLE
    text = number(metric, found.mean, signed=True)
    if found.low is None or found.high is None:
        return text
    return f"{text} ({number(metric, found.low, signed=True)} … {number(metric, found.high, signed=True)})"


def verdict(metric: Metric, found: summary.Difference) -> str:
    """'better', 'worse' or 'no clear difference', depending on whether the interval excludes zero."""
    if found.low is None or found.high is None or found.low <= 0.0 <= found.high:
        return "no clear difference"
    return "better" if (found.mean < 0.0) == (metric.better != "higher") else "worse"


def sentence(evaluation: Evaluation) -> str:
    """What was measured on these items, in the order of the metrics, and nothing beyond that."""
    if not evaluation.has_references:
        return (
            f"{len(evaluation.items)} recordings without a reference. What was lost and what came back can't be "
            "measured on them; a listener model, deaf above 8 kHz, can only estimate how they sound. Listen to them."
        )
    name = evaluation.restored
    by_verdict: dict[str, list[str]] = {"better": [], "worse": [], "no clear difference": []}
    voices: int | None = None
    judged: set[int] = set()
    for metric in (m for m in evaluation.metrics if m.key in HEADLINE):
        found = summary.difference(evaluation, name, metric.key)
        if found is not None and found.low is not None:
            by_verdict[verdict(metric, found)].append(_phrase(evaluation, metric))
            voices = found.speakers
            judged.add(found.items)
    start = f"On {_these(len(evaluation.items), judged)}, {name} against the suppressor alone"
    if not any(by_verdict.values()):
        few = "speakers" if summary.speakers(evaluation.items) else "items"
        return start + f": too few {few} for an interval, so no difference is claimed."
    described = [f"{said}: {', '.join(phrases)}" for said, phrases in by_verdict.items() if phrases]
    over = f" over {voices} speakers" if voices else ""
    return f"{start} (95{SPACE}% interval{over}). {_capital('; '.join(described))}."


def _these(items: int, judged: set[int]) -> str:
    """'these 96 items', '66 of 96 items' or 'this item', depending on how many items the differences are over."""
    if not judged or judged == {items}:
        return "this item" if items == 1 else f"these {items} items"
    over = " to ".join(f"{count}" for count in sorted({min(judged), max(judged)}))
    return f"{over} of {items} items"


def unclaimed(evaluation: Evaluation) -> list[str]:
    """Sentences on what these figures don't show."""
    found = []
    if summary.speakers(evaluation.items) is None:
        unknown = sum(summary.SPEAKER not in item.facts for item in evaluation.items)
        found.append(
            f"The speaker of {unknown} of {len(evaluation.items)} items is unknown, so every item counts as if it had "
            "a speaker of its own; if items share voices, the intervals are too narrow. To fix this, add an items.tsv "
            "with a speaker column beside the folders."
        )
    found.append(
        "Intervals cover the choice of speakers and items, not another language, microphone, noise or training run."
    )
    deaf = [metric.name for metric in evaluation.metrics if metric.remark]
    if deaf:
        found.append(f"{', '.join(deaf)} hear nothing above 8 kHz, so they say nothing about what comes back above it.")
    if any(metric.key.startswith("dnsmos") for metric in evaluation.metrics):
        found.append("DNSMOS rewards whatever sounds clean, even if invented: on its own it proves no restoration.")
    fuller = [item for item in evaluation.items if item.remarks]
    if fuller:
        found.append(
            f"{len(fuller)} of {len(evaluation.items)} references end below the bandwidth of an output (first: "
            f"{fuller[0].stem}: {fuller[0].remarks[0]}), so what comes back above has nothing to be judged against."
        )
    for name, lags in summary.moved(evaluation).items():
        far = f"{min(lags)} to {max(lags)}" if len(set(lags)) > 1 else f"{lags[0]}"
        found.append(
            f"{len(lags)} outputs of {name} lay {far} samples behind their input (negative: ahead of it) and were "
            "aligned with it before they were judged."
        )
    for name, stems in summary.absent(evaluation).items():
        shown = ", ".join(stems[:5]) + (", …" if len(stems) > 5 else "")
        found.append(
            f"{name} has no output for {len(stems)} items ({shown}); means are over the "
            f"{len(summary.common(evaluation))} that every system has."
        )
    return found


def worse_sentence(evaluation: Evaluation, system: str) -> str:
    """'restored: 3 of 48 items got worse (2 by PESQ, 1 by over-suppression).'"""
    found = summary.worse(evaluation, system)
    if not found.judged:
        return f"{system}: without PESQ and over-suppression it can't be determined whether an item got worse."
    why = f" ({found.by_pesq} by PESQ, {found.by_osr} by over-suppression)" if found.stems else ""
    limits = f" PESQ is n/a for {found.judged_without_pesq} of them." if found.judged_without_pesq else ""
    return f"{system}: {len(found.stems)} of {found.judged} items got worse{why}.{limits}"


def missing_sentences(evaluation: Evaluation) -> list[str]:
    """One line per reason, with the metrics and systems that lack a value because of it."""
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
    before, after = (summary.mean(evaluation, name, metric.key) for name in (DEGRADED, evaluation.restored))
    unit = SPACE + metric.unit if metric.unit else ""
    remark = f" ({metric.remark.replace(' ', SPACE)})" if metric.remark else ""
    arrow = f"{SPACE}→{SPACE}"
    return f"{metric.name}{remark} {number(metric, before)}{arrow}{number(metric, after)}{unit}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
