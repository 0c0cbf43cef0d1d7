"""A test's result as tables for the terminal, as JSON, and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from timbre_restore.atomic import write_text
from timbre_restore.listening.analyse import BETTER, FEWEST_LISTENERS, WORSE, Analysis
from timbre_restore.listening.intervals import Estimate
from timbre_restore.listening.plan import MUSHRA, SCALES
from timbre_restore.listening.screening import RULES
from timbre_restore.pages import bullets, head, table

TITLES = {MUSHRA: "MUSHRA-like test, 0 to 100", "ccr": "Comparison of pairs, −3 to +3"}
_MARKS = {BETTER: "good", WORSE: "bad"}


def as_json(analysis: Analysis) -> dict[str, Any]:
    """Everything that was found, with the rules that were applied."""
    return {**asdict(analysis), "rule": RULES[analysis.kind], "fewest_listeners": FEWEST_LISTENERS}


def sentences(analysis: Analysis) -> list[str]:
    """What qualifies the numbers: which listeners were used or not, by which rule, and what the intervals mean."""
    used, kind = len(analysis.used), analysis.kind
    lines = [f"{_count(used, 'listener')} used, {_count(analysis.items, 'item')}."]
    if used < FEWEST_LISTENERS:
        lines.append(f"No verdict is given with fewer than {FEWEST_LISTENERS} listeners: the numbers are a first look.")
    lines += [f"Left out: {one.code} {one.reason}." for one in analysis.discarded]
    for kept, fate in ((True, "their answered pages are used"), (False, "they are not used")):
        unfinished = {code: pages for code, pages in analysis.incomplete.items() if (code in analysis.used) is kept}
        if unfinished:
            names = ", ".join(f"{code} ({done} of {pages} pages)" for code, (done, pages) in unfinished.items())
            lines.append(f"Unfinished: {names}; {fate}.")
    if analysis.damaged:
        lines.append(f"{_count(len(analysis.damaged), 'damaged line')} skipped:")
        lines += analysis.damaged
    lines.append(RULES[kind])
    lines.append(
        "Intervals: 95 %, Student's t over one mean per listener. They are about other listeners and these items. "
        "Verdicts hold for all systems together (Bonferroni)."
    )
    return lines


def result_table(analysis: Analysis) -> RenderableType:
    """Tables of means and differences, followed by the sentences."""
    parts: list[RenderableType] = []
    if analysis.means:
        means = Table(title=TITLES[analysis.kind], title_justify="left")
        _columns(means, "", "mean", "95 %")
        for role, found in analysis.means.items():
            means.add_row(Text(role), f"{found.mean:.1f}", _interval(found, analysis.kind))
        parts.append(means)
    if analysis.differences:
        differences = Table(title=Text(_against(analysis)), title_justify="left")
        _columns(differences, "", "difference", "95 %", "verdict")
        for name, one in analysis.differences.items():
            number = _signed(one.estimate.mean, analysis.kind)
            differences.add_row(Text(name), number, _interval(one.estimate, analysis.kind, signed=True), one.verdict)
        parts.append(differences)
    return Group(*parts, *(Text(line) for line in sentences(analysis)))


def write_page(analysis: Analysis, path: Path) -> None:
    """Write the page to `path` by rename."""
    write_text(path, result_page(analysis))


def result_page(analysis: Analysis) -> str:
    """The result as one self-contained HTML file."""
    body = f"<body><main>\n<h1>Listening test</h1>\n<p class='lead'>{escape(TITLES[analysis.kind])}</p>\n"
    if analysis.means:
        rows = [[escape(role), f"{e.mean:.1f}", _interval(e, analysis.kind)] for role, e in analysis.means.items()]
        drawn = _drawing(analysis.means, SCALES[analysis.kind])
        body += f"<h2>Means</h2>\n{drawn}{table(['', 'mean', '95 %'], rows)}"
    if analysis.differences:
        rows = [
            [
                escape(name),
                _signed(one.estimate.mean, analysis.kind),
                _interval(one.estimate, analysis.kind, signed=True),
                f'<span class="{_MARKS.get(one.verdict, "even")}">{one.verdict}</span>',
            ]
            for name, one in analysis.differences.items()
        ]
        estimates = {name: one.estimate for name, one in analysis.differences.items()}
        reach = 3.0 if analysis.kind != MUSHRA else max(20.0, *(_reach(found) for found in estimates.values()))
        body += f"<h2>{escape(_against(analysis))}</h2>\n{_drawing(estimates, (-reach, reach))}"
        body += table(["", "difference", "95 %", "verdict"], rows)
    body += f"<h2>How to read this</h2>\n{bullets(sentences(analysis))}"
    return f"{head('listening test')}{body}</main></body>\n</html>\n"


def _drawing(estimates: Mapping[str, Estimate], axis: tuple[float, float]) -> str:
    """A dot and its interval for each name on one axis, with vertical lines at quarters of the axis."""
    low, high = axis
    left, wide, step = 150.0, 430.0, 26.0
    tall = step * len(estimates)

    def x(value: float) -> float:
        return left + wide * (min(max(value, low), high) - low) / (high - low)

    drawn = ""
    for mark in (low + share * (high - low) / 4 for share in range(5)):
        drawn += (
            f'<line class="axis" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="0" y2="{tall:.0f}"/>'
            f'<text x="{x(mark):.1f}" y="{tall + 16:.0f}" text-anchor="middle">{f"{mark:g}".replace("-", "−")}</text>'
        )
    for number, (name, found) in enumerate(estimates.items()):
        y = step * (number + 0.5)
        drawn += f'<text x="{left - 12:.0f}" y="{y + 4:.1f}" text-anchor="end">{escape(_short(name))}</text>'
        if found.low is not None and found.high is not None:
            drawn += (
                f'<line style="stroke:var(--mark);stroke-width:2" x1="{x(found.low):.1f}" x2="{x(found.high):.1f}" '
                f'y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        drawn += f'<circle style="fill:var(--mark)" cx="{x(found.mean):.1f}" cy="{y:.1f}" r="4"/>'
    return (
        f'<figure style="max-width:44rem"><svg viewBox="0 0 610 {tall + 24:.0f}" role="img" '
        f'aria-label="Means and intervals; the table below gives the numbers">{drawn}</svg></figure>\n'
    )


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"


def _reach(found: Estimate) -> float:
    return max(abs(value) for value in (found.mean, found.low, found.high) if value is not None)


def _against(analysis: Analysis) -> str:
    return f"Difference to {analysis.baseline}, positive is better"


def _columns(table: Table, first: str, *others: str) -> None:
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right" if heading != "verdict" else "left")


def _interval(found: Estimate, kind: str, *, signed: bool = False) -> str:
    if found.low is None or found.high is None:
        return "–"
    if signed:
        return f"{_signed(found.low, kind)} to {_signed(found.high, kind)}"
    digits = 1 if kind == MUSHRA else 2
    return f"{found.low:.{digits}f} to {found.high:.{digits}f}"


def _signed(value: float, kind: str) -> str:
    return f"{value:+.{1 if kind == MUSHRA else 2}f}".replace("-", "−")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
