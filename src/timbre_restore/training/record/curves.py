"""The curves of a run's page: each loss over the steps, drawn over the health band of its phase."""

from __future__ import annotations

import math

from timbre_restore.pages import Area, Line, curves
from timbre_restore.training.monitors.bands import BANDS
from timbre_restore.training.record.account import Account, Entry, bundled

POINTS = 160
"""Number of points in a line, as many as a figure can show."""

ALONE = "suppressor alone"
VALIDATED = (("{}", "train", "training"), ("val_{}", "epoch", "validation"),
             ("val_{}_degraded", "epoch", ALONE))  # fmt: skip

GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...], str], ...] = (
    ("l1", tuple((name.format("l1"), kind, label) for name, kind, label in VALIDATED), ""),
    ("multi_stft", tuple((name.format("multi_stft"), kind, label) for name, kind, label in VALIDATED), ""),
    ("adversarial", (("adversarial", "train", "adversarial"),), "High at first, then steady."),
    ("feature_matching", (("feature_matching", "train", "feature_matching"),), ""),
    ("d_real, d_fake", (("d_real", "train", "d_real"), ("d_fake", "train", "d_fake")),
     "Both towards 0: the discriminators win. Both near 1 while the spectra drift: the generator wins."),
    ("score_real, score_fake", (("score_real", "train", "score_real"), ("score_fake", "train", "score_fake")),
     "The discriminators' scores for clean and for restored voices."),
    ("gradient_norm", (("gradient_norm", "train", "generator"),
                       ("discriminator_gradient_norm", "train", "discriminators")), "Before clipping."),
    ("clipped", (("clipped", "train", "generator"),), "Share of the steps in which its gradient is clipped."),
    ("learning rate", (("learning_rate", "train", "generator"),), ""),
    ("batches per second", (("batches_per_s", "train", "batches/s"),), ""),
)  # fmt: skip
LOGARITHMIC = ("l1", "multi_stft", "gradient_norm", "feature_matching")
NOT_DRAWN = ("kind", "step", "epoch", "place", "seconds", "total")


def figures(account: Account) -> str:
    """All curves for which the log has values, as HTML; empty if there are none."""
    known = {name for _, parts, _ in GROUPS for name, _, _ in parts}
    others = dict.fromkeys(key for entry in account.train for key in entry if key not in known)
    groups = [*GROUPS, *((key, ((key, "train", key),), "") for key in others if key not in NOT_DRAWN)]
    drawn = "".join(_figure(account, *group) for group in groups)
    return f'<h2>Curves</h2>\n<div class="plots">{drawn}</div>\n' if drawn else ""


def _figure(account: Account, title: str, parts: tuple[tuple[str, str, str], ...], note: str) -> str:
    kinds: dict[str, list[Entry]] = {"train": account.train, "epoch": account.epochs}
    lines, values, holes = [], [], []
    for name, kind, label in parts:
        x, y = account.series(name, kinds[kind])
        if x:
            lines.append(Line(label, *bundled(x, y, POINTS), aside=label == ALONE))
            values += [value for value in y if math.isfinite(value)]
            holes += [(step, name) for step, value in zip(x, y, strict=True) if not math.isfinite(value)]
    if not lines:
        return ""
    areas = _bands(account, [name for name, _, _ in parts])
    logarithmic = title in LOGARITHMIC and min(values, default=0.0) > 0.0
    if holes:
        note = f"{holes[0][1]} is NaN or infinite at step {holes[0][0]:,}. {note}".strip()
    phases = account.phases()
    return curves(
        title, lines, ("steps", ""),
        across=(0.0, float(max(account.step, 1))), up=_ends(values, areas, logarithmic), logarithmic=logarithmic,
        areas=areas, borders=[(phase.begin, phase.name) for phase in phases], note=note,
    )  # fmt: skip


def _bands(account: Account, names: list[str]) -> list[Area]:
    """The band of each phase, only once if two losses of the figure share it."""
    areas = []
    for phase in account.phases():
        found = {BANDS.get(phase.name, {}).get(name) for name in names} - {None}
        areas += [Area((phase.begin, phase.end), (min(band), max(band))) for band in found if band]
    return areas


def _ends(values: list[float], areas: list[Area], logarithmic: bool) -> tuple[float, float]:
    """Axis limits from below the lowest to above the highest of values and bands; a linear axis includes 0."""
    shown = values + [value for area in areas for value in area.y]
    low, high = min(shown, default=0.0), max(shown, default=1.0)
    if logarithmic:
        return low / 1.1, high * 1.1
    low, high = min(0.0, low * 1.05), max(0.0, high * 1.05)
    return low, high if high > low else 1.0
