"""What every suppressor promises, whatever runs inside."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Suppressor(Protocol):
    """Takes noise out of a whole signal. Calls don't share state: equal input, equal output."""

    @property
    def name(self) -> str:
        """Short name, as the configuration knows it."""
        ...

    @property
    def sample_rate_hz(self) -> int:
        """The one rate it works at."""
        ...

    @property
    def latency_samples(self) -> int:
        """Its algorithmic delay while streaming; `__call__` has removed it."""
        ...

    @property
    def licence(self) -> str:
        """SPDX expression of the weights and the runtime."""
        ...

    @property
    def build(self) -> str:
        """Runtime, its version and the weights' release: builds of one suppressor may differ in their numbers."""
        ...

    def __call__(self, noisy: FloatArray) -> FloatArray:
        """The suppressed signal, float32 `[T]`, as long as `noisy` and aligned with it, from a fresh state."""
        ...
