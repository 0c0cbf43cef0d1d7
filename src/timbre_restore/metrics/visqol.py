"""ViSQOL in audio mode, from the package `visqol-python`: the only listener model here that hears above 8 kHz."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray
from timbre_restore.metrics.base import require_speech
from timbre_restore.metrics.frames import spoken_pieces
from timbre_restore.metrics.sharing import NotComputableError, failures_of, once_per_pair, require_package

COMMAND = "pip install visqol-python==3.8.0 numba"
SHORTEST_S = 1.0
# Its memory use grows with the length, to a gigabyte at one minute.
PIECE_SAMPLES = 20 * SAMPLE_RATE_HZ
HIGH_HZ = 8_000.0


@once_per_pair
def visqol(estimate: FloatArray, reference: FloatArray) -> NDArray[np.float64]:
    """MOS and mean similarity above 8 kHz, `[2]`: means over pieces of at most 20 s in which the reference speaks."""
    require_package("visqol", COMMAND)
    if len(reference) < SHORTEST_S * SAMPLE_RATE_HZ:
        raise NotComputableError(f"shorter than {SHORTEST_S} s")
    require_speech(estimate, reference)
    with failures_of("ViSQOL"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [_piece(given, wanted) for wanted, given in spoken_pieces(reference, estimate, PIECE_SAMPLES)]
    return np.asarray(np.mean(found, axis=0))


def _piece(given: FloatArray, wanted: FloatArray) -> tuple[float, float]:
    result = _model().measure_from_arrays(wanted.astype(np.float64), given.astype(np.float64), SAMPLE_RATE_HZ)
    high = np.asarray(result.center_freq_bands) > HIGH_HZ
    return float(result.moslqo), float(np.asarray(result.fvnsim)[high].mean())


@functools.cache
def _model() -> Any:
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="audio")
    return api


def visqol_audio(estimate: FloatArray, reference: FloatArray) -> float:
    """ViSQOL's audio mode as MOS-LQO, 1 to 4.73, higher is better. `[T]` at 48 kHz, all of it heard.

    Chinen et al. 2020, 'ViSQOL v3: an open source production ready objective speech and audio metric': similarity of
    gammatone spectrograms in 32 bands from 50 Hz to 21 kHz, mapped by a regression trained on music codecs. So its
    scale is not one of speech quality: use it only to rank outputs. It aligns both signals first, so it is deaf to
    delay, and also to polarity.
    """
    return float(visqol(estimate, reference)[0])


def visqol_high(estimate: FloatArray, reference: FloatArray) -> float:
    """ViSQOL's mean similarity of the bands centred above 8 kHz, about 0 to 1, higher is better. `[T]` at 48 kHz.

    The package's `fvnsim` before its regression, so not a MOS. Deaf below 8 kHz, to delay and to polarity; noise where
    the reference has almost nothing counts as much as a lost sibilant.
    """
    return float(visqol(estimate, reference)[1])
