"""The result of a check: a figure and its limit."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One check. It passes when its figure is finite and not above its limit."""

    name: str
    figure: float
    limit: float
    unit: str
    about: str
    """Description of the figure, for people."""

    @property
    def passed(self) -> bool:
        """Whether the check passed; False for NaN, too."""
        return math.isfinite(self.figure) and self.figure <= self.limit

    def as_dict(self) -> dict[str, object]:
        """For JSON, which has no NaN: null stands for it."""
        figure = self.figure if math.isfinite(self.figure) else None
        return {
            "name": self.name, "figure": figure, "limit": self.limit, "unit": self.unit, "passed": self.passed,
            "about": self.about,
        }  # fmt: skip


def sentence_of(rows: list[Row], name: str) -> str:
    """The checks that failed and their figures, as one sentence; empty when none did."""
    failed = [row for row in rows if not row.passed]
    if not failed:
        return ""
    figures = "; ".join(
        f"{row.name} is {row.figure:.4g}{_unit(row)}, at most {row.limit:.4g} allowed" for row in failed
    )
    return f"{name}: fails {len(failed)} of {len(rows)} checks: {figures}."


def _unit(row: Row) -> str:
    return f" {row.unit}" if row.unit else ""
