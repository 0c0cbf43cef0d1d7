"""The distance between an output and its clean reference as waveforms."""

from __future__ import annotations

import numpy as np

from timbre_restore.audio import FloatArray
from timbre_restore.metrics.base import require_speech

SI_SDR_LIMIT_DB = 100.0
BLOCK_SAMPLES = 1 << 20


def si_sdr(estimate: FloatArray, reference: FloatArray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB; higher is better, within ±100 dB. `[T]`.

        a = <e, r> / <r, r>,   SI-SDR = 10·log10( |a·r|² / |a·r − e|² )

    Le Roux et al. 2019, 'SDR – half-baked or well done?', section 3.1, without mean removal. Clipped to ±100 dB, so
    that an identical pair (infinite) keeps a mean over items finite. Hears the whole band but is dominated by its
    loudest part, which lies below 1 kHz: nearly deaf to the upper octaves, and it prefers a dull output. Deaf to level
    and polarity. A delay of 10 ms costs 20 dB or more.
    """
    require_speech(estimate, reference)
    scale = _dot(estimate, reference) / _dot(reference, reference)
    signal, error = scale**2 * _dot(reference, reference), _error(estimate, reference, scale)
    if signal <= error * 10.0 ** (-SI_SDR_LIMIT_DB / 10.0):
        return -SI_SDR_LIMIT_DB
    if error <= signal * 10.0 ** (-SI_SDR_LIMIT_DB / 10.0):
        return SI_SDR_LIMIT_DB
    return 10.0 * float(np.log10(signal / error))


def _dot(left: FloatArray, right: FloatArray) -> float:
    blocks = range(0, len(left), BLOCK_SAMPLES)
    return sum(float(np.dot(*(x[at : at + BLOCK_SAMPLES].astype(np.float64) for x in (left, right)))) for at in blocks)


def _error(estimate: FloatArray, reference: FloatArray, scale: float) -> float:
    total = 0.0
    for at in range(0, len(estimate), BLOCK_SAMPLES):
        given, wanted = (x[at : at + BLOCK_SAMPLES].astype(np.float64) for x in (estimate, reference))
        total += float(np.sum((scale * wanted - given) ** 2))
    return total
