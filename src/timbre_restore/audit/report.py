"""The results of an audit: findings, facts, distributions. No checks are made here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from timbre_restore.audio import printable

SHOWN = 5
"""Maximum number of examples in a sentence."""
BARS = 40


@dataclass(frozen=True)
class Finding:
    """One sentence about the corpus."""

    check: str
    """Short, machine-readable name of the check."""
    text: str
    breaks: bool
    """Whether it makes the corpus NOT READY; other findings are warnings."""
    count: int = 1


@dataclass(frozen=True)
class Fact:
    """One measured or counted fact."""

    section: str
    name: str
    text: str
    """Human-readable."""
    value: Any
    """Machine-readable, JSON-compatible."""


@dataclass(frozen=True)
class Distribution:
    """A histogram (`counts` between `edges`, of which there is one more) and five order statistics."""

    name: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    quantiles: tuple[float, float, float, float, float]
    """Lowest, 5 %, median, 95 %, highest."""

    def __str__(self) -> str:
        """One line."""
        low, few, median, many, high = (f"{value:.4g}" for value in self.quantiles)
        unit = f" {self.unit}" if self.unit else ""
        return f"{low} … {high}{unit}, median {median}, 90 % within {few} … {many}; {sum(self.counts)} values"


@dataclass(frozen=True)
class Spectrum:
    """Level per band of one source's clean side: mean over items, in dB relative to each item's strongest band."""

    name: str
    tops_hz: tuple[float, ...]
    level_db: tuple[float, ...]


@dataclass
class Report:
    """Everything one audit found. `ready` is False when any finding breaks training."""

    root: Path
    items: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    distributions: list[Distribution] = field(default_factory=list)
    spectra: list[Spectrum] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether no finding breaks training."""
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """The sentences that say why the corpus is not ready."""
        return [finding.text for finding in self.findings if finding.breaks]

    @property
    def warnings(self) -> list[str]:
        """The sentences that are warnings only."""
        return [finding.text for finding in self.findings if not finding.breaks]

    @property
    def verdict(self) -> str:
        """READY or NOT READY."""
        return "READY" if self.ready else "NOT READY"

    def broken(self, check: str, text: str, count: int = 1) -> None:
        """Add a reason why the corpus is not ready; undecodable bytes of names are shown as escapes."""
        self.findings.append(Finding(check, printable(text), True, count))

    def warn(self, check: str, text: str, count: int = 1) -> None:
        """Add a warning."""
        self.findings.append(Finding(check, printable(text), False, count))

    def fact(self, section: str, name: str, text: str, value: Any = None) -> None:
        """Add a fact; its value defaults to the text."""
        text = printable(text)
        self.facts.append(Fact(section, name, text, text if value is None else value))

    def distribution(self, name: str, unit: str, values: ArrayLike) -> None:
        """Add the distribution of the finite `values`, if there are any."""
        found = np.asarray(values, dtype=np.float64)
        found = found[np.isfinite(found)]
        if found.size:
            counts, edges = np.histogram(found, bins=BARS)
            low, few, median, many, high = np.quantile(found, (0.0, 0.05, 0.5, 0.95, 1.0)).tolist()
            self.distributions.append(
                Distribution(name, unit, tuple(edges.tolist()), tuple(counts.tolist()), (low, few, median, many, high))
            )

    def __str__(self) -> str:
        """Human-readable report; its last line is the verdict."""
        lines = [f"{self.root}: " + ", ".join(f"{count} {split}" for split, count in self.items.items()) + " items"]
        for section in dict.fromkeys(fact.section for fact in self.facts):
            lines.append(f"\n{section}")
            lines += [f"  {fact.name}: {fact.text}" for fact in self.facts if fact.section == section]
        lines.append("\ndistributions")
        lines += [f"  {found.name}: {found}" for found in self.distributions]
        lines.append("")
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [f"broken: {reason}" for reason in self.reasons]
        return "\n".join([*lines, self.verdict])


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON-compatible values."""
    facts: dict[str, dict[str, Any]] = {}
    for fact in report.facts:
        facts.setdefault(fact.section, {})[fact.name] = fact.value
    return {
        "corpus": str(report.root),
        "ready": report.ready,
        "items": report.items,
        "findings": [{"check": f.check, "breaks": f.breaks, "count": f.count, "text": f.text} for f in report.findings],
        "facts": facts,
        "distributions": {
            d.name: {"unit": d.unit, "quantiles": list(d.quantiles), "edges": list(d.edges), "counts": list(d.counts)}
            for d in report.distributions
        },
        "spectra": {s.name: {"hz": list(s.tops_hz), "db": list(s.level_db)} for s in report.spectra},
    }


def some(names: Iterable[object]) -> str:
    """The first few names, joined for a sentence."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:SHOWN]) + (", …" if len(listed) > SHOWN else "")


def of(count: int, whole: int, noun: str) -> str:
    """'3 of 12 items (25 %)'."""
    return f"{count} of {whole} {noun} ({100.0 * count / max(whole, 1):.3g} %)"


def same_values(values: Sequence[str]) -> list[str]:
    """Unique values in order of appearance, without empty ones."""
    return [value for value in dict.fromkeys(values) if value]
