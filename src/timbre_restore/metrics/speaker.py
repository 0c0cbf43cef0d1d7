"""Whether it still sounds like the same person: the cosine of two voice embeddings from the package `resemblyzer`."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import FloatArray, from_db, rms
from timbre_restore.metrics.base import require_speech
from timbre_restore.metrics.perceptual import PESQ_RATE_HZ, at_16_khz
from timbre_restore.metrics.sharing import NotComputableError, failures_of, once_per_pair, require_package

COMMAND = "pip install --no-deps resemblyzer==0.1.4 && pip install webrtcvad-wheels librosa torch"
LEVEL_DBFS = -30.0
SHORTEST_S = 0.4
# The encoder sees all windows of a piece at once; ten minutes in one batch would take gigabytes.
PIECE_SAMPLES = 30 * PESQ_RATE_HZ


def speaker_similarity(estimate: FloatArray, reference: FloatArray) -> float:
    """Cosine of the speaker embeddings of output and reference, 0 to 1, higher is better. `[T]` at 48 kHz.

    Wan et al. 2018, 'Generalized end-to-end loss for speaker verification', from `resemblyzer`. Each signal is levelled
    by itself to −30 dBFS RMS, a voice detector cuts its pauses, and windows of 1.6 s are embedded and averaged.
    Listens at 16 kHz. It also hears noise and room: 0.6 for the same voice in noise, 0.7 for another voice without, so
    compare only outputs with similar noise, as a difference to the suppressor. Deaf above 8 kHz, to level, to what is
    said, and to pauses.
    """
    require_package("resemblyzer", COMMAND)
    require_speech(estimate, reference)
    return float(np.dot(embedding(estimate), embedding(reference)))


@once_per_pair
def embedding(samples: FloatArray) -> NDArray[np.float64]:
    """The unit vector `[256]` of the voice in `[T]` at 48 kHz."""
    with failures_of("resemblyzer"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package is old, and its libraries say so
        encoder, cut_pauses = _encoder()
        heard = at_16_khz(samples)
        voice = cut_pauses(np.clip(heard * np.float32(from_db(LEVEL_DBFS) / rms(heard)), -1.0, 1.0))
        if len(voice) < SHORTEST_S * PESQ_RATE_HZ:
            raise NotComputableError(f"less than {SHORTEST_S} s of voice")
        starts = range(0, max(1, len(voice) - PIECE_SAMPLES // 2), PIECE_SAMPLES)
        ends = [*starts[1:], len(voice)]  # a short remainder joins the piece before it
        pieces = [
            encoder.embed_utterance(voice[a:b], return_partials=True)[1] for a, b in zip(starts, ends, strict=True)
        ]
    mean = np.concatenate(pieces).astype(np.float64).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


@functools.cache
def _encoder() -> tuple[Any, Any]:
    """The network on the CPU and the pause cutter, loaded once per process. This is where torch is imported."""
    with contextlib.redirect_stdout(io.StringIO()):
        from resemblyzer import VoiceEncoder, trim_long_silences
    return VoiceEncoder("cpu", verbose=False), trim_long_silences
