"""Findings about a run, as messages that the user can act on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One observation by one rule: what was seen, what it likely means, and what to change."""

    rule: str
    """Name of the rule, as in the log and the documentation: `nan`, `leap`, `discriminators_win`, …"""
    step: int
    seen: str
    """The figures, and what they are compared with."""
    likely: str
    change: str
    """The configuration key to change, and the value to try."""
    stops: bool = False
    """Whether it ends a run, rather than only printing a warning."""

    @property
    def sentence(self) -> str:
        """The complete finding in one line."""
        return f"step {self.step}: {self.seen}: {self.likely}; {self.change}."
