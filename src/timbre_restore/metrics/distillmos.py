"""DistillMOS, from the package `distillmos`: a reference-free rating by a small network distilled from a large one.

The package imports torchaudio and transformers for its command line and its teacher; neither is needed to rate an
array. If torchaudio is absent, an empty module stands in for it during the import and is removed afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from timbre_restore.audio import FloatArray
from timbre_restore.metrics.base import require_speech
from timbre_restore.metrics.frames import equal_pieces
from timbre_restore.metrics.perceptual import PESQ_RATE_HZ, at_16_khz
from timbre_restore.metrics.sharing import failures_of, require_package

COMMAND = "pip install --no-deps distillmos==0.9.1 xls-r-sqa==0.1.0 && pip install torch"
# One batch holds a window of 7.7 s for every second.
PIECE_S = 20


def distill_mos(estimate: FloatArray) -> float:
    """DistillMOS, 1 to 5, higher is better. `[T]` at 48 kHz; listens at 16 kHz; needs no reference.

    Stahl and Gamper 2025, 'Distillation and pruning for scalable self-supervised representation-based speech quality
    assessment'. Windows of 7.68 s, each divided by its peak; a shorter recording is zero-padded, which the network
    hears. Items over 20 s are rated in equal pieces. Deaf above 8 kHz, to level, and to whose voice it was.
    """
    require_package("distillmos", COMMAND)
    require_speech(estimate)
    with failures_of("DistillMOS"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network, to_tensor = _network()
        pieces = equal_pieces(at_16_khz(estimate), PIECE_S * PESQ_RATE_HZ)
        return float(np.mean([network(to_tensor(np.ascontiguousarray(x))[None]).item() for x in pieces]))


@functools.cache
def _network() -> tuple[Any, Any]:
    """The network and torch's `from_numpy`, loaded once per process. This is where torch is imported."""
    with contextlib.redirect_stdout(io.StringIO()), _torchaudio():
        from distillmos import sqa
    with contextlib.redirect_stdout(io.StringIO()):
        network = sqa.ConvTransformerSQAModel().eval().requires_grad_(False)
    return network, sqa.torch.from_numpy


@contextlib.contextmanager
def _torchaudio() -> Iterator[None]:
    if importlib.util.find_spec("torchaudio") is not None:
        yield
        return
    stand_in = types.ModuleType("torchaudio")
    sys.modules["torchaudio"] = stand_in
    try:
        yield
    finally:
        del sys.modules["torchaudio"]
