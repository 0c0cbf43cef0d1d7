"""The interface that all suppressors share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, INVALID_SAMPLES, SAMPLE_RATE_HZ, FloatArray, is_valid
from timbre_restore.errors import SuppressorError

NO_LIMIT_DB = 100.0
SILENCE_MEAN_SQUARE = 1e-7  # libDF: tract.rs, DfTract::process
FLUSH = np.array([4e-4, -4e-4], dtype=np.float32)
"""Repeated, this counts as sound for libDF (mean square 1.6e-7) but is inaudible: 24 kHz at -68 dBFS."""


@dataclass(frozen=True)
class SuppressorSettings:
    """Which suppressor, and all that determines its output. Fields it does not support stay at their defaults."""

    name: str = "dfn3"
    runtime: str = "graphs"
    """DeepFilterNet3 only: `graphs`, `official` (the first build that is installed), or a build's package name."""
    attenuation_limit_db: float = NO_LIMIT_DB
    """DeepFilterNet3 only, in (0, 100]; 100 means no limit."""
    post_filter_beta: float = 0.0
    """DeepFilterNet3 only, in [0, 0.1]; 0 is off."""


@dataclass(frozen=True)
class Suppressed:
    """The suppressor's output for N hops, with its internal estimates; silent hops hold zeros and -15 dB.

    `audio` `[N, 480]`, delayed by 1440 samples; `spectra` `[N, 481]` before synthesis and the matching `noisy_spectra`,
    both two frames earlier than the hop; `newest_spectra` `[N, 481]`, the noisy spectrum of the hop itself; `gains`
    `[N, 32]` applied per ERB band; `local_snr_db` `[N]`; `heard` `[N]`, false for silent hops.
    """

    audio: FloatArray
    spectra: NDArray[np.complex64]
    noisy_spectra: NDArray[np.complex64]
    newest_spectra: NDArray[np.complex64]
    gains: FloatArray
    local_snr_db: FloatArray
    heard: NDArray[np.bool_]


@dataclass(frozen=True)
class Hints:
    """A suppressor's internal estimates, one row per hop of 480 output samples, with the delay removed.

    `gains` `[N, 32]`, applied to ERB bands, in [0, 1]; `local_snr_db` `[N]`, from -15 to 35; `low` complex `[N, 96]`,
    the lowest bins of its spectrum before synthesis. Gains, low bins and the noisy spectrum give that whole spectrum.
    """

    gains: FloatArray
    local_snr_db: FloatArray
    low: NDArray[np.complex64]


class Suppressor(Protocol):
    """Removes noise from a whole signal. Calls don't share state: equal input, equal output."""

    @property
    def name(self) -> str:
        """Short name, as used in the configuration."""
        ...

    @property
    def sample_rate_hz(self) -> int:
        """The one rate it works at."""
        ...

    @property
    def latency_samples(self) -> int:
        """Its algorithmic delay when streaming; `__call__` removes it."""
        ...

    @property
    def licence(self) -> str:
        """SPDX expression of the weights and the runtime."""
        ...

    @property
    def build(self) -> str:
        """Runtime, its version and the release of the weights: builds of one suppressor may differ numerically."""
        ...

    def __call__(self, noisy: FloatArray) -> FloatArray:
        """The suppressed signal, float32 `[T]`, as long as `noisy` and aligned with it, from a fresh state."""
        ...

    def with_hints(self, noisy: FloatArray) -> tuple[FloatArray, Hints | None]:
        """The same plus hints (None when the suppressor gives none): ⌈T / 480⌉ rows."""
        ...

    def many(self, signals: Iterable[FloatArray]) -> Iterator[tuple[int, FloatArray, Hints | None]]:
        """Each signal's index, suppressed signal and hints, in the order in which they finish.

        Signals are consumed as needed. A result depends only on its own signal, to the last bit.
        """
        ...


def is_heard(hops: FloatArray) -> NDArray[np.bool_]:
    """Which of the hops `[N, 480]` DeepFilterNet3's release processes; it skips silent ones."""
    return np.asarray(np.mean(np.square(hops), axis=1) >= SILENCE_MEAN_SQUARE)


def one_by_one(
    suppress: Callable[[FloatArray], tuple[FloatArray, Hints | None]], signals: Iterable[FloatArray]
) -> Iterator[tuple[int, FloatArray, Hints | None]]:
    """`many` for a suppressor that gains nothing by taking several at once."""
    for number, signal in enumerate(signals):
        yield number, *suppress(signal)


class FrameSource(Protocol):
    """A hop-by-hop suppressor that exposes its spectra before synthesis."""

    def begin(self) -> Any:
        """The initial state."""
        ...

    def stream(self, hops: FloatArray, state: Any) -> tuple[Suppressed, Any]:
        """The next hops `[N, 480]`, N at least 1, and the state for those after them."""
        ...


RunHops = Callable[[FloatArray], tuple[FloatArray, Hints | None]]
"""A whole number of hops `[T]` in, as many out, delayed by the latency, from a fresh state; hints are equally late."""
RunMany = Callable[[Iterable[FloatArray]], Iterator[tuple[int, FloatArray, Hints | None]]]
"""The same for many signals, each with its index."""


@dataclass(frozen=True)
class HopSuppressor:
    """Adapts a hop-by-hop suppressor with a delay to signals of any length, with aligned output.

    The delay is a constant of the algorithm and is removed as such. As many samples are appended to the signal, or its
    end would stay inside. They are a tone at 24 kHz just above what DeepFilterNet3's release takes for silence: it
    would not process hops of zeros, and they would push nothing out.
    """

    name: str
    build: str
    licence: str
    latency_samples: int
    run_hops: RunHops
    run_many: RunMany | None = None
    """For many signals, if that is faster."""
    frames: FrameSource | None = None
    """Hop by hop and with spectra, if the suppressor supports it."""
    sample_rate_hz: int = SAMPLE_RATE_HZ

    def __call__(self, noisy: FloatArray) -> FloatArray:
        """The suppressed signal, float32 `[T]`, as long as `noisy` and aligned with it, from a fresh state."""
        return self.with_hints(noisy)[0]

    def with_hints(self, noisy: FloatArray) -> tuple[FloatArray, Hints | None]:
        """The same, plus the hints for each hop."""
        return self._trimmed(len(noisy), *self.run_hops(self.padded(noisy)))

    def many(self, signals: Iterable[FloatArray]) -> Iterator[tuple[int, FloatArray, Hints | None]]:
        """Index, suppressed signal and hints of each; a result depends only on its own signal."""
        if self.run_many is None:
            yield from one_by_one(self.with_hints, signals)
            return
        lengths: list[int] = []

        def padded() -> Iterator[FloatArray]:
            for noisy in signals:
                lengths.append(len(noisy))
                yield self.padded(noisy)

        for number, delayed, known in self.run_many(padded()):
            yield number, *self._trimmed(lengths[number], delayed, known)

    def padded(self, noisy: FloatArray) -> FloatArray:
        """`noisy` padded to whole hops, with enough extra for its last sample to come out."""
        _check(noisy)
        hops = -(-(len(noisy) + self.latency_samples) // HOP_SAMPLES)
        return np.concatenate([noisy, np.resize(FLUSH, hops * HOP_SAMPLES - len(noisy))])

    def _trimmed(self, length: int, delayed: FloatArray, known: Hints | None) -> tuple[FloatArray, Hints | None]:
        """The runtime's output without its delay."""
        late, hops = self.latency_samples, -(-(length + self.latency_samples) // HOP_SAMPLES)
        if len(delayed) != hops * HOP_SAMPLES or not np.isfinite(delayed).all():
            raise SuppressorError(
                f"{self.build}: returned {len(delayed)} samples for {hops} hops, or NaN among them; reinstall it."
            )
        if known is not None:
            first = late // HOP_SAMPLES
            known = Hints(known.gains[first:], known.local_snr_db[first:], known.low[first:])
        return np.ascontiguousarray(delayed[late : late + length], dtype=np.float32), known


def refuse_settings_of_dfn3(settings: SuppressorSettings) -> None:
    """Raise `SuppressorError` when settings that only DeepFilterNet3 has are given to another suppressor."""
    if settings != SuppressorSettings(name=settings.name):
        raise SuppressorError(
            f"'{settings.name}' does not support the settings runtime, attenuation limit and post-filter, which only "
            "DeepFilterNet3 has; leave them at their defaults."
        )


def _check(noisy: FloatArray) -> None:
    if noisy.ndim != 1 or noisy.dtype != np.float32:
        raise SuppressorError(f"noisy is {noisy.dtype} of shape {noisy.shape}; expected a float32 array [T] at 48 kHz.")
    if not is_valid(noisy).all():
        raise SuppressorError(f"noisy holds {INVALID_SAMPLES}; clean it first.")
