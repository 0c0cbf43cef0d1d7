"""RNNoise (Valin 2018), used in many calls and streams: 48 kHz, frames of 10 ms, gains in 22 bands.

The wheel pyrnnoise contains the xiph/rnnoise library with its built-in network. Its Python part needs packages that
nothing here needs, so only the library is opened. Interface as in `rnnoise.h`: samples are floats on the 16-bit scale.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from timbre_restore.audio import HOP_SAMPLES, FloatArray
from timbre_restore.errors import SuppressorError
from timbre_restore.suppressors.base import HopSuppressor, SuppressorSettings, refuse_settings_of_dfn3

RNNOISE_LATENCY_SAMPLES = 2 * HOP_SAMPLES  # one of overlap, one of look-ahead; also confirmed by measurement on speech
_FULL_SCALE = np.float32(32768.0)
_LIBRARY = {"darwin": "librnnoise.dylib", "win32": "rnnoise.dll"}
_INSTALL = "pip install --no-deps pyrnnoise==0.4.5"


def load_rnnoise(settings: SuppressorSettings) -> HopSuppressor:
    """RNNoise from the installed pyrnnoise. Raises `SuppressorError` if it is missing, or on unsupported settings."""
    build = describe_rnnoise(settings)
    spec = importlib.util.find_spec("pyrnnoise")
    assert spec is not None and spec.origin is not None
    api = _open(Path(spec.origin).parent / _LIBRARY.get(sys.platform, "librnnoise.so"))
    return HopSuppressor("rnnoise", build, "BSD-3-Clause", RNNOISE_LATENCY_SAMPLES, lambda x: (_run(api, x), None))


def describe_rnnoise(settings: SuppressorSettings) -> str:
    """Package and version, without opening the library."""
    refuse_settings_of_dfn3(settings)
    if importlib.util.find_spec("pyrnnoise") is None:
        raise SuppressorError(f"RNNoise is not installed; run: {_INSTALL}")
    return f"pyrnnoise {metadata.version('pyrnnoise')} (its own network)"


def _run(api: Any, padded: FloatArray) -> FloatArray:
    scaled = np.ascontiguousarray(padded * _FULL_SCALE)
    out = np.empty_like(scaled)
    state = api.rnnoise_create(None)
    try:
        # The addresses stay valid because both arrays live until the loop ends.
        source, target = scaled.ctypes.data, out.ctypes.data
        for offset in range(0, scaled.nbytes, HOP_SAMPLES * scaled.itemsize):
            api.rnnoise_process_frame(state, target + offset, source + offset)
    finally:
        api.rnnoise_destroy(state)
    return np.asarray(out / _FULL_SCALE, dtype=np.float32)


def _open(library: Path) -> Any:
    try:
        api = ctypes.CDLL(str(library))
        api.rnnoise_create.argtypes, api.rnnoise_create.restype = [ctypes.c_void_p], ctypes.c_void_p
        api.rnnoise_process_frame.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        api.rnnoise_process_frame.restype = ctypes.c_float
        api.rnnoise_destroy.argtypes, api.rnnoise_destroy.restype = [ctypes.c_void_p], None
    except (OSError, AttributeError) as exc:
        raise SuppressorError(f"{library}: can't be opened as RNNoise ({exc}); reinstall: {_INSTALL}") from exc
    return api
