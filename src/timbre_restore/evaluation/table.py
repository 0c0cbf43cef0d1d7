"""The evaluation on a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from timbre_restore.evaluation import summary, words
from timbre_restore.evaluation.results import RESTORED, Evaluation


def summary_table(evaluation: Evaluation) -> RenderableType:
    """Systems side by side, then what qualifies the numbers: items worse, n/a with reasons, failures."""
    count = len(evaluation.items)
    table = Table(title=f"Mean of {count} item{'s' if count != 1 else ''}, against clean", title_justify="left")
    table.add_column("metric")
    for name in evaluation.systems:
        table.add_column(Text(name), justify="right")
    table.add_column("restored − degraded (95 %)", justify="right")
    for metric in evaluation.metrics:
        values = [words.number(metric, summary.mean(evaluation, name, metric.key)) for name in evaluation.systems]
        arrow = {"lower": "↓", "higher": "↑", "zero": "→ 0"}[metric.better]
        table.add_row(f"{words.title(metric)} {arrow}", *values, words.change(evaluation, RESTORED, metric))
    lines = [words.worse_sentence(evaluation, name) for name in summary.compared_systems(evaluation)]
    lines += [words.WORSE, words.DEAF, *words.missing_sentences(evaluation)]
    return Group(table, *(Text(line) for line in lines), *_failures(evaluation))


def _failures(evaluation: Evaluation) -> list[RenderableType]:
    if not evaluation.failures:
        return []
    table = Table(title="Failures", title_justify="left", title_style="bold red")
    for heading in ("item", "system", "what"):
        table.add_column(heading)
    for failure in evaluation.failures:
        table.add_row(Text(failure.stem), Text(failure.system), Text(failure.reason))
    return [table]
