"""Observations that only the current session can make, besides the numbers in the log: clocks and weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from timbre_restore.training.monitors.machine import Meter
from timbre_restore.training.monitors.weights import Movement

if TYPE_CHECKING:
    from timbre_restore.training.state import TrainState


class Local:
    """Wraps the batches to time them, and reports at the end of every log interval."""

    def __init__(self, state: TrainState, accelerator: Any) -> None:
        self._state = state
        self._accelerator = accelerator
        self._meter = Meter(accelerator)
        self._movement = Movement()

    def timed(self, batches: Iterable[list[torch.Tensor]]) -> Iterator[list[torch.Tensor]]:
        """The batches, measuring how long each one takes to arrive."""
        return self._meter.timed(batches)

    def look(self, steps: int, *, gan: bool) -> dict[str, Any]:
        """`machine` and `still` of a `Look` at the last `steps` steps; every process must call this."""
        state, unwrap = self._state, self._accelerator.unwrap_model
        looked = {"generator": (state.generator, state.generator_optimizer)}
        if gan:
            looked["discriminators"] = (state.discriminators, state.discriminator_optimizer)
        still = {
            name: kept
            for name, (module, optimizer) in looked.items()
            if (kept := self._movement.look(name, unwrap(module), optimizer, steps)) is not None
        }
        return {"machine": self._meter.look(), "still": still}
