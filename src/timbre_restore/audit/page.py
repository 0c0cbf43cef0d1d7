"""The audit as one HTML file: verdict and reasons at the top, then the measurements."""

from __future__ import annotations

from html import escape
from pathlib import Path

from timbre_restore.atomic import write_text
from timbre_restore.audit.report import Report
from timbre_restore.audit.sources import SHOWN_DB
from timbre_restore.pages import Line, bullets, curves, head, histogram, table


def write_page(report: Report, path: Path) -> None:
    """Write the page to `path` atomically."""
    write_text(path, page(report))


def page(report: Report) -> str:
    """The whole page as HTML."""
    items = ", ".join(f"{count} {split}" for split, count in report.items.items())
    kind = "good" if report.ready else "bad"
    parts = [
        head("audit"),
        f'<body><main>\n<h1>Audit: <span class="{kind}">{report.verdict}</span></h1>\n',
        f'<p class="lead">{escape(str(report.root))}: {items} items.</p>\n',
        _reasons(report),
        f"<h2>Warnings</h2>\n{bullets(report.warnings)}" if report.warnings else "",
        _facts(report),
        _plots(report),
        "</main></body>\n</html>\n",
    ]
    return "".join(parts)


def _reasons(report: Report) -> str:
    if report.ready:
        return ""
    return f'<section class="alarm"><h2>Why it is not ready</h2>\n{bullets(report.reasons)}</section>\n'


def _facts(report: Report) -> str:
    parts = []
    for section in dict.fromkeys(fact.section for fact in report.facts):
        rows = [[escape(fact.name), escape(fact.text)] for fact in report.facts if fact.section == section]
        parts.append(f'<section class="facts"><h3>{escape(section)}</h3>\n{table([], rows)}</section>\n')
    return f'<h2>Facts</h2>\n<div class="groups">{"".join(parts)}</div>\n'


def _plots(report: Report) -> str:
    figures = [histogram(f"{d.name}, {d.unit}", d.edges, d.counts, d.unit) for d in report.distributions]
    if report.spectra:
        hz = [value / 1000.0 for value in report.spectra[0].tops_hz]
        lines = [Line(spectrum.name, hz, spectrum.level_db) for spectrum in report.spectra]
        title, ends = "Mean spectrum of clean, by source", ((0.0, hz[-1]), (SHOWN_DB, 0.0))
        figures.insert(0, curves(title, lines, ("kHz", "dB"), across=ends[0], up=ends[1]))
    rows = [[escape(d.name), *(f"{value:.4g}" for value in d.quantiles), escape(d.unit)] for d in report.distributions]
    numbers = table(["", "lowest", "5 %", "median", "95 %", "highest", ""], rows)
    return f'<h2>Distributions</h2>\n<div class="plots">{"".join(figures)}</div>\n{numbers}'
