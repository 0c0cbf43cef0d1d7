"""All checks of a file, quickest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from timbre_restore.runtime.chain import Chain
from timbre_restore.runtime.checks.contracts import check_chain, check_determinism, check_restorer
from timbre_restore.runtime.checks.cost import check_cost
from timbre_restore.runtime.checks.endurance import check_endurance, check_strength
from timbre_restore.runtime.checks.facts import check_facts
from timbre_restore.runtime.checks.rows import Row


@dataclass(frozen=True)
class Extent:
    """How much audio the checks use."""

    hours: float = 1.0
    contract_s: float = 3.0
    cost_s: float = 30.0

    @classmethod
    def quick(cls) -> Extent:
        """Enough to find what is badly wrong, within seconds."""
        return cls(hours=0.005, contract_s=1.0, cost_s=2.0)


def check_model(
    path: Path, chain: Chain, extent: Extent, progress: Callable[[int, int, object], None] = lambda *_: None
) -> list[Row]:
    """Every check of the file at `path`, which `chain` has opened behind its suppressor.

    If the suppressor can't be streamed, the rows of the chain are left out and the others test the restorer alone.
    """
    restorer, streaming = chain.restorer, chain if chain.streams else None
    return [
        *check_facts(path),
        *(check_chain(streaming, extent.contract_s) if streaming else ()),
        *check_restorer(restorer, extent.contract_s),
        *check_determinism(restorer, streaming, extent.contract_s),
        *check_strength(restorer, streaming),
        *check_endurance(restorer, extent.hours, progress),
        *check_cost(restorer, extent.cost_s),
    ]
