"""Pages to read in a browser: one HTML file that needs no network.

The content security policy in the head forbids loading anything, except files beside the page if it has any. Colours
are variables that follow the reader's light or dark setting, in the drawings too. Text is escaped here unless a
docstring says that it is ready HTML.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:OWN; media-src data:OWN; style-src 'unsafe-inline'SCRIPTS">
<title>Timbre Restore: TITLE</title>
<style>
:root { color-scheme: light dark; --ink: #1c1d20; --soft: #5c6068; --ground: #ffffff; --panel: #f5f5f7;
  --line: #d9dade; --good: #12693a; --bad: #b3261e; --mark: #3b6fb5; --warm: #b26a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e7ea; --soft: #a2a6ae; --ground: #16171a;
  --panel: #202226; --line: #3a3d43; --good: #6fcf97; --bad: #ff8a80; --mark: #7eb0f0; --warm: #f0b060; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; margin: 0 0 .75rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 0 0 .75rem; overflow-wrap: anywhere; }
.lead { font-size: 1.1rem; max-width: 62rem; }
small { color: var(--soft); font-size: .82rem; font-weight: normal; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { padding: .35rem .55rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child { text-align: left; padding-left: 0; }
thead th { white-space: normal; color: var(--soft); font-weight: 600; font-size: .85rem; vertical-align: bottom; }
tbody th { font-weight: 500; }
.verdict { white-space: normal; text-align: left; }
.good { color: var(--good); } .bad { color: var(--bad); } .warm { color: var(--warm); } .even { color: var(--soft); }
article { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.1rem;
  margin: 1rem 0; }
.alarm { border: 2px solid var(--bad); border-radius: 8px; padding: 0 1.1rem .5rem; margin-top: 1.5rem; }
.alarm th, .alarm td { text-align: left; }
.alarm h2 { color: var(--bad); margin-top: .8rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.4rem, 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; margin-bottom: .5rem; }
.plot { display: flex; height: 11rem; }
.plot img { flex: 1; min-width: 0; height: 100%; display: block; }
.khz { position: relative; width: 2.9rem; color: var(--soft); font-size: .72rem; }
.khz i { position: absolute; right: .35rem; white-space: nowrap;
  transform: translateY(50%); font-style: normal; line-height: 1; }
.time { display: flex; justify-content: space-between; color: var(--soft); font-size: .72rem; padding-left: 2.9rem; }
audio { width: 100%; height: 2.2rem; margin-top: .35rem; }
.player { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .8rem; margin-bottom: .9rem; }
.player input { flex: 1 1 12rem; accent-color: var(--mark); }
.systems { display: flex; flex-wrap: wrap; gap: .3rem; }
button, select { font: inherit; color: var(--ink); background: var(--ground); border: 1px solid var(--line);
  border-radius: 6px; padding: .2rem .7rem; cursor: pointer; }
button:disabled { color: var(--soft); cursor: default; }
button[aria-checked=true], button.chosen { background: var(--mark); color: var(--ground); border-color: var(--mark); }
button:focus-visible, select:focus-visible, article:focus-visible { outline: 2px solid var(--mark);
  outline-offset: 2px; }
.play { min-width: 3rem; }
.seen { position: relative; flex: 1; min-width: 0; display: flex; }
.now { position: absolute; top: 0; bottom: 0; left: 0; width: 1px; background: #fff; mix-blend-mode: difference; }
.blind { border: 1px solid var(--line); border-radius: 8px; padding: .2rem 1.1rem; margin: 1rem 0; }
.hiding article[data-stem] { display: none; }
.legend { white-space: nowrap; }
.scale { width: 9rem; height: .7rem; vertical-align: baseline; }
@media (max-width: 60rem) { th small { display: block; } tbody th { white-space: normal; min-width: 8rem; } }
details { margin-top: .75rem; } summary { cursor: pointer; }
.groups { columns: 2 34rem; column-gap: 2rem; } .facts { break-inside: avoid; padding-bottom: .6rem; }
.facts h3 { margin: 0; } .facts table { width: 100%; }
.facts td { text-align: left; white-space: normal; }
.large { max-width: 44rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
svg { display: block; width: 100%; height: auto; font-size: 11px; }
svg text { fill: var(--soft); } svg .bar { fill: var(--mark); } svg .axis { stroke: var(--line); }
svg .curve { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
svg .aside { stroke-width: 1; stroke-dasharray: 5 3; }
svg .spread { opacity: .22; }
svg .band { fill: var(--good); opacity: .13; } svg .border { stroke: var(--soft); stroke-dasharray: 3 3; }
.swatch.band { background: var(--good); opacity: .3; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem;
  margin: .4rem 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9rem; }
.words td, .words th { text-align: left; white-space: normal; vertical-align: top; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 .9em; }
</style>
</head>
"""
_CURVES = ("var(--mark)", "var(--warm)", "var(--good)", "var(--bad)", "var(--soft)")
_WIDTH, _HEIGHT, _LEFT, _FOOT, _TOP = 380, 200, 44, 34, 18
_ASIDE = "var(--soft)"
_CHARACTER = 6.5
"""Approximate width of a character at the drawings' font size."""


def head(title: str, *, script: str = "", served: bool = False, with_files: bool = False) -> str:
    """Everything before the body. The policy allows exactly this `script` to run, and no other.

    A page that is `served` may talk to the server that it came from; one `with_files` may load files beside it.
    """
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = f"; script-src 'sha256-{allowed}'" if script else ""
    policy += "; connect-src 'self'" if served else ""
    own = " 'self'" if with_files else ""
    return _HEAD.replace("OWN", own).replace("SCRIPTS", policy).replace("TITLE", escape(title))


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of ready HTML cells; the first cell of each row is its heading. No `columns` means no header row."""
    cells = "".join(f'<th scope="col">{cell}</th>' for cell in columns)
    top = f"<thead><tr>{cells}</tr></thead>\n" if cells else ""
    body = ""
    for row in rows:
        first, *rest = row
        body += f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>\n"
    return f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>\n'


def bullets(lines: Iterable[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>\n"


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], unit: str) -> str:
    """A figure of bars between `edges` (one more than `counts`), linear on both axes, the count axis from 0."""
    top = max(max(counts, default=0), 1)
    low, high = edges[0], edges[-1]
    span = (high - low) or 1.0
    bars = ""
    for left, right, count in zip(edges, edges[1:], counts, strict=False):
        x, wide = _x((left - low) / span), _x((right - low) / span) - _x((left - low) / span)
        tall = (_HEIGHT - _FOOT - _TOP) * count / top
        bars += (
            f'<rect class="bar" x="{x:.1f}" y="{_HEIGHT - _FOOT - tall:.1f}" width="{max(wide - 1, 0.5):.1f}" '
            f'height="{tall:.1f}"><title>{left:g} to {right:g} {escape(unit)}: {count}</title></rect>'
        )
    frame = _Frame((low, high), (0, top))
    return _figure(title, _axes(frame, unit, (0, top), "") + bars)


@dataclass(frozen=True)
class Line:
    """A named line of a figure, with a value at each x; `spread` is the range around it, lowest and highest."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[tuple[float, float]] = ()
    aside: bool = False
    """Whether to draw it thin and grey, as what the others are compared with."""
    dots: bool = False
    """Whether to mark each value with a dot."""


@dataclass(frozen=True)
class Area:
    """A shaded rectangle behind the lines, with its ranges on both axes."""

    x: tuple[float, float]
    y: tuple[float, float]


def curves(
    title: str,
    lines: Sequence[Line],
    units: tuple[str, str],
    *,
    across: tuple[float, float],
    up: tuple[float, float],
    logarithmic: bool = False,
    areas: Sequence[Area] = (),
    borders: Sequence[tuple[float, str]] = (),
    note: str = "",
) -> str:
    """A figure of named lines. Values outside `up` are drawn at its edge; values that are not finite leave a gap.

    `units` are the units of the x and y axes, `across` and `up` their ranges. `borders` are vertical lines at an x
    position, with a label to their right. A logarithmic y axis needs an `up` above 0. `note` is shown below the figure.
    """
    frame = _Frame(across, up, logarithmic)
    drawn = "".join(_area(frame, area) for area in areas) + _borders(frame, borders)
    names = _legend('class="swatch band"', "healthy") if areas else ""
    for number, line in enumerate(lines):
        colour = _ASIDE if line.aside else _CURVES[number % len(_CURVES)]
        drawn += _line(frame, line, colour)
        names += _legend(f'class="swatch" style="background:{colour}"', line.name)
    under = f"<small>{names}</small>" + (f"<div><small>{escape(note)}</small></div>" if note else "")
    marks = _log_marks(*up) if logarithmic else _marks(*up)
    return _figure(title, _axes(frame, units[0], marks, units[1]) + drawn, under)


def _legend(how: str, name: str) -> str:
    return f'<span class="legend"><span {how}></span>{escape(name)}</span> '


@dataclass(frozen=True)
class _Frame:
    """Maps values to positions in the drawing."""

    across: tuple[float, float]
    up: tuple[float, float]
    logarithmic: bool = False

    def x(self, value: float) -> float:
        return _x(_share(value, *self.across))

    def y(self, value: float) -> float:
        low, high = self.up
        if self.logarithmic:
            return _y(_share(math.log(max(value, low)), math.log(low), math.log(high)))
        return _y(_share(value, low, high))


def _share(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / ((high - low) or 1.0)))


def _line(frame: _Frame, line: Line, colour: str) -> str:
    """A line in pieces, split at values that are not finite; a single value becomes a dot, or it would not show."""
    drawn = ""
    for piece in _pieces(line.y):
        points = [f"{frame.x(line.x[i]):.1f},{frame.y(line.y[i]):.1f}" for i in piece]
        if line.spread:
            rim = [f"{frame.x(line.x[i]):.1f},{frame.y(line.spread[i][1]):.1f}" for i in piece]
            rim += [f"{frame.x(line.x[i]):.1f},{frame.y(line.spread[i][0]):.1f}" for i in reversed(piece)]
            drawn += f'<polygon style="fill:{colour}" class="spread" points="{" ".join(rim)}"/>'
        for point in points if line.dots or len(points) == 1 else ():
            x, y = point.split(",")
            drawn += f'<circle style="fill:{colour}" cx="{x}" cy="{y}" r="2.5"/>'
        if len(points) > 1:
            kind = "curve aside" if line.aside else "curve"
            drawn += f'<polyline class="{kind}" style="stroke:{colour}" points="{" ".join(points)}"/>'
    return drawn


def _pieces(values: Sequence[float]) -> list[list[int]]:
    pieces: list[list[int]] = [[]]
    for index, value in enumerate(values):
        if math.isfinite(value):
            pieces[-1].append(index)
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _area(frame: _Frame, area: Area) -> str:
    left, right = (frame.x(value) for value in area.x)
    bottom, top = (frame.y(value) for value in area.y)
    return (
        f'<rect class="band" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
        f'height="{max(bottom - top, 1):.1f}"/>'
    )


def _borders(frame: _Frame, borders: Sequence[tuple[float, str]]) -> str:
    """Vertical lines with their labels; a label that would run into the one before it is placed a row lower."""
    drawn, free_from, row = "", -math.inf, 0
    for at, name in borders:
        x, base = frame.x(at), _HEIGHT - _FOOT
        row = (row + 1) % 2 if x < free_from else 0
        free_from = x + 3 + _CHARACTER * len(name)
        drawn += (
            f'<line class="border" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{base}"/>'
            f'<text x="{x + 3:.1f}" y="{_TOP - 5 + 12 * row}">{escape(name)}</text>'
        )
    return drawn


def _marks(low: float, high: float) -> list[float]:
    """Two to six round values within the range of an axis."""
    span = (high - low) or 1.0
    decade = 10.0 ** math.floor(math.log10(span))
    step = next(decade * factor for factor in (0.2, 0.5, 1.0, 2.0) if span / (decade * factor) <= 5.5)
    return [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _log_marks(low: float, high: float) -> list[float]:
    """Powers of ten within the range of an axis, plus round values between them if the range is short."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 3, 5, 7) if high / low < 12 else (1, 2, 5) if high / low < 200 else (1,)
    found = [factor * 10.0**decade for decade in decades for factor in factors]
    return [value for value in found if low * 0.999 <= value <= high * 1.001]


def _figure(title: str, inner: str, under: str = "") -> str:
    name = escape(title)
    return (
        f'<figure><figcaption>{name}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{name}">{inner}</svg>{under}</figure>\n'
    )


def _axes(frame: _Frame, unit: str, marks: Sequence[float], side_unit: str) -> str:
    """Three marks on the x axis, and `marks` on the y axis with fine grid lines; the y unit is on the topmost mark."""
    base, (low, high) = _HEIGHT - _FOOT, frame.across
    parts = [f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{base}" y2="{base}"/>']
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        mark = _number(low + share * (high - low)) + (f" {escape(unit)}" if share == 1.0 else "")
        parts.append(f'<text x="{_x(share):.1f}" y="{base + 16}" text-anchor="{anchor}">{mark}</text>')
    for number, value in enumerate(marks):
        y = frame.y(value)
        mark = _number(value) + (f" {escape(side_unit)}" if side_unit and number == len(marks) - 1 else "")
        if base - y > 1:
            parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{min(base, y + 4):.1f}" text-anchor="end">{mark}</text>')
    return "".join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - 8 - _LEFT)


def _y(share: float) -> float:
    return _HEIGHT - _FOOT - share * (_HEIGHT - _FOOT - _TOP)
