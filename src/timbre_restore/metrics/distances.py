"""Two distances between an output and its clean reference: in log spectra and in waveforms."""

from __future__ import annotations

import numpy as np

from timbre_restore.audio import FloatArray, stft
from timbre_restore.metrics.base import NotComputableError, is_silent, require_speech

LSD_WINDOW_SAMPLES = 2048
LSD_HOP_SAMPLES = 512
LSD_FLOOR_DB = 80.0
LSD_ACTIVE_RANGE_DB = 40.0
SI_SDR_LIMIT_DB = 100.0


def log_spectral_distance(estimate: FloatArray, reference: FloatArray) -> float:
    """LSD in dB over the active frames; 0 is best, up to the 80 dB of its range. `[T]` at 48 kHz.

        LSD = mean over active frames n of sqrt( mean over bins f of (L_E[f, n] − L_R[f, n])² )
        L_X = 10·log10 max(|X|², floor),  floor = peak of |R|² over all cells − 80 dB

    Hann 2048, hop 512; a frame is active when the reference's energy in it lies within 40 dB of its loudest frame.
    Gray and Markel 1976 (log spectral deviation); floor and activity are this project's. Hears the whole band, every
    bin alike: half of it is what lies above 12 kHz, so a voice that ends at 8 kHz is mostly judged on its floor.
    Deaf to phase, and to pauses.
    """
    if is_silent(reference):
        raise NotComputableError("the reference is silent")
    wanted = np.abs(stft(reference, LSD_WINDOW_SAMPLES, LSD_HOP_SAMPLES)) ** 2
    given = np.abs(stft(estimate, LSD_WINDOW_SAMPLES, LSD_HOP_SAMPLES)) ** 2
    floor = wanted.max() * 10.0 ** (-LSD_FLOOR_DB / 10.0)
    energy = wanted.sum(axis=0)
    active = energy >= energy.max() * 10.0 ** (-LSD_ACTIVE_RANGE_DB / 10.0)
    ratio_db = 10.0 * np.log10(np.maximum(given[:, active], floor) / np.maximum(wanted[:, active], floor))
    return float(np.sqrt(np.mean(ratio_db**2, axis=0)).mean())


def si_sdr(estimate: FloatArray, reference: FloatArray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB; higher is better, within ±100 dB. `[T]`.

        a = <e, r> / <r, r>,   SI-SDR = 10·log10( |a·r|² / |a·r − e|² )

    Le Roux et al. 2019, without removal of the mean. Cut to ±100 dB, so that an identical pair (infinite) leaves a
    mean of items finite. Hears the whole band but follows the loudest part of it, which lies below 1 kHz: nearly
    deaf to the upper octaves, and it prefers a dull output. A delay of 10 ms costs 20 dB and more.
    """
    require_speech(estimate, reference)
    given, wanted = estimate.astype(np.float64), reference.astype(np.float64)
    target = wanted * (np.dot(given, wanted) / np.dot(wanted, wanted))
    signal, error = float(np.sum(target**2)), float(np.sum((target - given) ** 2))
    if signal <= error * 10.0 ** (-SI_SDR_LIMIT_DB / 10.0):
        return -SI_SDR_LIMIT_DB
    if error <= signal * 10.0 ** (-SI_SDR_LIMIT_DB / 10.0):
        return SI_SDR_LIMIT_DB
    return 10.0 * float(np.log10(signal / error))
