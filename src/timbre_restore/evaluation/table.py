"""The evaluation as tables for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from timbre_restore.evaluation import summary, words
from timbre_restore.evaluation.results import Evaluation


def summary_table(evaluation: Evaluation) -> RenderableType:
    """Systems side by side, then what qualifies the numbers: items worse, n/a with reasons, failures."""
    count = len(summary.common(evaluation))
    judged = evaluation.has_references
    against = ", against clean" if judged else ""
    table = Table(title=f"Mean of {count} item{'s' if count != 1 else ''}{against}", title_justify="left")
    table.add_column("metric")
    for name in evaluation.systems:
        table.add_column(Text(name), justify="right")
    table.add_column(Text(f"{evaluation.restored} − degraded (95 %)"), justify="right")
    for metric in words.whole(evaluation.metrics):
        values = [words.number(metric, summary.mean(evaluation, name, metric.key)) for name in evaluation.systems]
        change = words.change(metric, summary.difference(evaluation, evaluation.restored, metric.key))
        over = words.counted(evaluation, metric, count)
        table.add_row(f"{words.title(metric)} {words.ARROWS[metric.better]}{over}", *values, change)
    lines = [words.worse_sentence(evaluation, name) for name in summary.compared_systems(evaluation)] if judged else []
    if len(words.whole(evaluation.metrics)) < len(evaluation.metrics):
        lines.append("By band: see --json or --html for level and log-spectral distance from 0 to 20 kHz.")
    lines += [*([words.WORSE] if judged else []), *words.unclaimed(evaluation), *words.missing_sentences(evaluation)]
    return Group(table, *(Text(line) for line in lines), *_failures(evaluation))


def _failures(evaluation: Evaluation) -> list[RenderableType]:
    if not evaluation.failures:
        return []
    table = Table(title="Failures", title_justify="left", title_style="bold red")
    for heading in ("item", "system", "problem"):
        table.add_column(heading)
    for failure in evaluation.failures:
        table.add_row(Text(failure.stem), Text(failure.system), Text(failure.reason))
    return [table]
