"""What every suppressor promises, whatever runs inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, NO_SOUND, SAMPLE_RATE_HZ, is_sound
from timbre_restore.errors import SuppressorError

FloatArray = NDArray[np.float32]


NO_LIMIT_DB = 100.0
SILENCE_MEAN_SQUARE = 1e-7  # libDF: tract.rs, DfTract::process
FLUSH = np.array([4e-4, -4e-4], dtype=np.float32)
"""Repeated, sound to libDF (a mean square of 1.6e-7) and none to people: 24 kHz at -68 dBFS."""


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
class Suppressed:
    """A stretch of N hops after a suppressor, and what it knew; silent hops hold zeros and -15 dB.

    `audio` `[N, 480]`, delayed by 1440 samples; `spectra` `[N, 481]` before synthesis and `noisy_spectra` beside them,
    both of two frames earlier than the hop; `newest_spectra` `[N, 481]`, noisy of the hop itself; `gains` `[N, 32]`
    applied per ERB band; `local_snr_db` `[N]`; `heard` `[N]`, false for the silent hops.
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
    """What a suppressor knew while it worked, a row per hop of 480 samples of its output, its delay removed.

    `gains` `[N, 32]`, applied to ERB bands, in [0, 1]; `local_snr_db` `[N]`, from -15 to 35; `low` complex `[N, 96]`,
    the lowest bins of its spectrum before synthesis. With the noisy spectrum, gains and low bins make the whole of it.
    """

    gains: FloatArray
    local_snr_db: FloatArray
    low: NDArray[np.complex64]


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


def is_heard(hops: FloatArray) -> NDArray[np.bool_]:
    """Which of the hops `[N, 480]` DeepFilterNet3's release processes at all."""
    return np.asarray(np.mean(np.square(hops), axis=1) >= SILENCE_MEAN_SQUARE)


def one_by_one(
    suppress: Callable[[FloatArray], tuple[FloatArray, Hints | None]], signals: Iterable[FloatArray]
) -> Iterator[tuple[int, FloatArray, Hints | None]]:
    """`many` for a suppressor that gains nothing by taking several at once."""
    for number, signal in enumerate(signals):
        yield number, *suppress(signal)


class FrameSource(Protocol):
    """A suppressor hop by hop, which shows its spectra before synthesis."""

    def begin(self) -> Any:
        """The state before any sound."""
        ...

    def stream(self, hops: FloatArray, state: Any) -> tuple[Suppressed, Any]:
        """The next hops `[N, 480]`, N at least 1, and the state for those after them."""
        ...


RunHops = Callable[[FloatArray], tuple[FloatArray, Hints | None]]
"""A whole number of hops `[T]` in, the same number out, delayed by the latency, from a fresh state; hints as late."""
RunMany = Callable[[Iterable[FloatArray]], Iterator[tuple[int, FloatArray, Hints | None]]]
"""The same of many signals, each with its number."""


@dataclass(frozen=True)
class HopSuppressor:
    """A suppressor that works hop by hop and late, made to give signals of any length, aligned.

    The delay is a constant of the algorithm and removed as such. The signal is followed by as many samples, or its end
    would stay inside. They are a tone at 24 kHz that lies just above what DeepFilterNet3's release takes for silence:
    hops of zeros would not be processed there, and push nothing out.
    """

    name: str
    build: str
    licence: str
    latency_samples: int
    run_hops: RunHops
    run_many: RunMany | None = None
    """For many signals, where that is quicker."""
    frames: FrameSource | None = None
    """Hop by hop and with its spectra, where it can."""
    sample_rate_hz: int = SAMPLE_RATE_HZ

    def __call__(self, noisy: FloatArray) -> FloatArray:
        """The suppressed signal, float32 `[T]`, as long as `noisy` and aligned with it, from a fresh state."""
        return self.with_hints(noisy)[0]

    def with_hints(self, noisy: FloatArray) -> tuple[FloatArray, Hints | None]:
        """The same, and what it knew of each hop."""
        return self._trimmed(len(noisy), *self.run_hops(self.padded(noisy)))

    def many(self, signals: Iterable[FloatArray]) -> Iterator[tuple[int, FloatArray, Hints | None]]:
        """Number, suppressed signal and hints of each; a result depends on its signal alone."""
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
        """`noisy` to whole hops, and on until its last sample has come out."""
        _check(noisy)
        hops = -(-(len(noisy) + self.latency_samples) // HOP_SAMPLES)
        return np.concatenate([noisy, np.resize(FLUSH, hops * HOP_SAMPLES - len(noisy))])

    def _trimmed(self, length: int, delayed: FloatArray, known: Hints | None) -> tuple[FloatArray, Hints | None]:
        """What the runtime gave without its delay."""
        late, hops = self.latency_samples, -(-(length + self.latency_samples) // HOP_SAMPLES)
        if len(delayed) != hops * HOP_SAMPLES or not np.isfinite(delayed).all():
            raise SuppressorError(
                f"{self.build}: gave {len(delayed)} samples for {hops} hops, or NaN among them; reinstall it."
            )
        if known is not None:
            first = late // HOP_SAMPLES
            known = Hints(known.gains[first:], known.local_snr_db[first:], known.low[first:])
        return np.ascontiguousarray(delayed[late : late + length], dtype=np.float32), known


def refuse_settings_of_dfn3(settings: SuppressorSettings) -> None:
    """Raise `SuppressorError` when settings that only DeepFilterNet3 has are given to another suppressor."""
    if settings != SuppressorSettings(name=settings.name):
        raise SuppressorError(
            f"'{settings.name}' has no runtime, attenuation limit or post-filter to choose, as DeepFilterNet3 has; "
            "leave them at their defaults."
        )


def _check(noisy: FloatArray) -> None:
    if noisy.ndim != 1 or noisy.dtype != np.float32:
        raise SuppressorError(f"noisy is {noisy.dtype} of shape {noisy.shape}; expected a float32 array [T] at 48 kHz.")
    if not is_sound(noisy).all():
        raise SuppressorError(f"noisy holds {NO_SOUND}; clean it first.")
