"""CSIG, CBAK and COVL: ratings of speech, background and the whole, predicted from four older measures.

Hu and Loizou 2008, 'Evaluation of objective quality measures for speech enhancement', IEEE TASLP 16(1), equations
(8)–(10) with the coefficients from the authors' published code, which all later comparisons use:

    CSIG = 3.093 − 1.029·LLR + 0.603·PESQ                − 0.009·WSS
    CBAK = 1.634             + 0.478·PESQ + 0.063·segSNR − 0.007·WSS
    COVL = 1.594 − 0.512·LLR + 0.805·PESQ                − 0.007·WSS       each clipped to 1…5

All at 16 kHz, in frames of 30 ms every 7.5 ms under a Hann window; LLR and WSS drop their worst 5 % of frames. PESQ
is the wide-band value of `pesq_wb`, as is usual at 16 kHz (the paper fitted the narrow-band one).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import FloatArray
from timbre_restore.metrics.frames import framed
from timbre_restore.metrics.perceptual import PESQ_RATE_HZ, at_16_khz, pesq_wb
from timbre_restore.metrics.sharing import NotComputableError, once_per_pair
from timbre_restore.metrics.slopes import spectral_slope_distances

WINDOW = 480
HOP = 120
LPC_ORDER = 16
KEPT = 0.95
SEGMENT_RANGE_DB = (-10.0, 35.0)
# Substitute for the ratio if rounding has made it negative; the authors' value.
LLR_BROKEN = 1000.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Composite:
    """The three predicted ratings, 1 to 5, and the measures they were computed from."""

    csig: float
    cbak: float
    covl: float
    llr: float
    wss: float
    segsnr_db: float
    pesq: float


@once_per_pair
def composite(estimate: FloatArray, reference: FloatArray) -> Composite:
    """All three ratings of a pair `[T]` at 48 kHz. If PESQ is n/a, so are they, for the same reason."""
    pesq = pesq_wb(estimate, reference)
    given, wanted = (np.asarray(at_16_khz(x), dtype=np.float64) for x in (estimate, reference))
    llr = best(per_frame(log_likelihood_ratios, given, wanted))
    wss = best(per_frame(spectral_slope_distances, given, wanted))
    segsnr_db = float(per_frame(segment_snrs_db, given, wanted).mean())
    return Composite(
        csig=_rating(3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss),
        cbak=_rating(1.634 + 0.478 * pesq + 0.063 * segsnr_db - 0.007 * wss),
        covl=_rating(1.594 - 0.512 * llr + 0.805 * pesq - 0.007 * wss),
        llr=llr,
        wss=wss,
        segsnr_db=segsnr_db,
        pesq=pesq,
    )


def _rating(value: float) -> float:
    return float(np.clip(value, 1.0, 5.0))


def per_frame(measure: Callable[[Array, Array], Array], given: Array, wanted: Array) -> Array:
    """`measure` of (output, reference) frames `[N, 480]`, block by block: `[frames]`. Signals `[T]` at 16 kHz.

    The last whole frame is left out, as in the authors' code. A tiny constant replaces digital silence.
    """
    count = (len(wanted) - WINDOW) // HOP
    if count < 1:
        raise NotComputableError(f"shorter than {1000 * (WINDOW + HOP) / PESQ_RATE_HZ:.1f} ms")
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(1, WINDOW + 1) / (WINDOW + 1))
    tiny = np.finfo(np.float64).eps
    blocks = zip(*(framed(x + tiny, WINDOW, HOP, count) for x in (given, wanted)), strict=True)
    return np.concatenate([measure(g * window, w * window) for g, w in blocks])


def best(distances: Array) -> float:
    """Mean of the smallest 95 %."""
    return float(np.sort(distances)[: max(1, round(len(distances) * KEPT))].mean())


def segment_snrs_db(given: Array, wanted: Array) -> Array:
    """SNR per frame in dB, clipped to −10…35, `[N]`."""
    tiny = np.finfo(np.float64).eps
    error = np.sum((wanted - given) ** 2, axis=1)
    snr_db = 10.0 * np.log10(np.sum(wanted**2, axis=1) / (error + tiny) + tiny)
    return np.asarray(np.clip(snr_db, *SEGMENT_RANGE_DB))


def log_likelihood_ratios(given: Array, wanted: Array) -> Array:
    """LLR per frame, `[N]`: ln( a_E·R_R·a_Eᵀ / a_R·R_R·a_Rᵀ ), with R_R the reference's autocorrelation matrix.

    a is a signal's prediction filter of order 16; the ratio says how much worse the output's filter predicts the
    reference than the reference's own filter does.
    """
    lags = autocorrelation(wanted)
    spread = np.abs(np.subtract.outer(np.arange(LPC_ORDER + 1), np.arange(LPC_ORDER + 1)))
    matrix = lags[:, spread]

    def energy(filters: Array) -> Array:
        return np.asarray(np.einsum("ni,nij,nj->n", filters, matrix, filters))

    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = energy(prediction_filters(autocorrelation(given))) / energy(prediction_filters(lags))
    return np.asarray(np.log(np.where((ratio > 0.0) & np.isfinite(ratio), ratio, LLR_BROKEN)))


def autocorrelation(frames: Array) -> Array:
    """Lags 0 to 16 of frames `[N, 480]`: `[N, 17]`."""
    return np.stack(
        [np.einsum("nt,nt->n", frames[:, : WINDOW - lag], frames[:, lag:]) for lag in range(LPC_ORDER + 1)], axis=1
    )


def prediction_filters(lags: Array) -> Array:
    """Levinson-Durbin recursion for all frames at once: lags `[N, 17]` to filters (1, −a1, …) `[N, 17]`."""
    filters = np.zeros_like(lags)
    filters[:, 0] = 1.0
    error = lags[:, 0].copy()
    for order in range(1, LPC_ORDER + 1):
        reflection = -np.einsum("ni,ni->n", filters[:, :order], lags[:, order:0:-1]) / error
        filters[:, 1 : order + 1] += reflection[:, None] * filters[:, order - 1 :: -1][:, :order]
        error *= 1.0 - reflection**2
    return filters


def csig(estimate: FloatArray, reference: FloatArray) -> float:
    """Predicted rating of the speech's distortion, 1 to 5, higher is better. `[T]` at 48 kHz; listens at 16 kHz.

    Hu and Loizou 2008, equation (8): 3.093 − 1.029·LLR + 0.603·PESQ − 0.009·WSS. Deaf above 8 kHz, to level and, apart
    from PESQ's share, to phase.
    """
    return composite(estimate, reference).csig


def cbak(estimate: FloatArray, reference: FloatArray) -> float:
    """Predicted rating of the background's intrusion, 1 to 5, higher is better. `[T]` at 48 kHz; listens at 16 kHz.

    Hu and Loizou 2008, equation (9): 1.634 + 0.478·PESQ − 0.007·WSS + 0.063·segSNR. Deaf above 8 kHz. Its segmental
    SNR takes a delay, inverted polarity or any other change of the waveform for noise.
    """
    return composite(estimate, reference).cbak


def covl(estimate: FloatArray, reference: FloatArray) -> float:
    """Predicted rating of the whole, 1 to 5, higher is better. `[T]` at 48 kHz; listens at 16 kHz.

    Hu and Loizou 2008, equation (10): 1.594 + 0.805·PESQ − 0.512·LLR − 0.007·WSS. Deaf above 8 kHz and to level;
    mostly PESQ in other units.
    """
    return composite(estimate, reference).covl
