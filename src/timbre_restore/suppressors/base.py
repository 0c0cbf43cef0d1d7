"""What every suppressor promises, whatever runs inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


NO_LIMIT_DB = 100.0


@dataclass(frozen=True)
class SuppressorSettings:
    """Which suppressor, and how: everything that its output follows from. What a name does not know stays at rest."""

    name: str = "dfn3"
    runtime: str = "graphs"
    """Of DeepFilterNet3: `graphs`, `official` (the first build that is installed), or a build's package name."""
    attenuation_limit_db: float = NO_LIMIT_DB
    """Of DeepFilterNet3, in (0, 100]; 100 is none."""
    post_filter_beta: float = 0.0
    """Of DeepFilterNet3, in [0, 0.1]; 0 is off."""


@dataclass(frozen=True)
class Hints:
    """What a suppressor knew while it worked, a row per hop of 480 samples of its output, its delay removed.

    `gains` `[N, 32]`, of ERB bands, in [0, 1]; `local_snr_db` `[N]`, from -15 to 35.
    """

    gains: FloatArray
    local_snr_db: FloatArray


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

    def with_hints(self, noisy: FloatArray) -> tuple[FloatArray, Hints | None]:
        """The same, and what it knew (None when it does not say): ⌈T / 480⌉ rows."""
        ...

    def many(self, signals: Iterable[FloatArray]) -> Iterator[tuple[int, FloatArray, Hints | None]]:
        """Each signal's number in the order given, its suppressed signal and hints, in the order they are done.

        Signals are taken as they are needed. A result depends on its signal alone, to the last bit: not on the others.
        """
        ...


def one_by_one(
    suppress: Callable[[FloatArray], tuple[FloatArray, Hints | None]], signals: Iterable[FloatArray]
) -> Iterator[tuple[int, FloatArray, Hints | None]]:
    """`many` for a suppressor that gains nothing by taking several at once."""
    for number, signal in enumerate(signals):
        yield number, *suppress(signal)
