"""What was noticed in a run, in words that a person can act on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One observation of one rule: what was seen, what it likely means, what to change."""

    rule: str
    """Its name, as the log and the documentation have it: `nan`, `leap`, `discriminators_win`, …"""
    step: int
    seen: str
    """The figures, and what they are compared with."""
    likely: str
    change: str
    """The configuration's key and the value to try."""
    stops: bool = False
    """Whether it ends a run, rather than being said."""

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        return f"step {self.step}: {self.seen}: {self.likely}; {self.change}."
