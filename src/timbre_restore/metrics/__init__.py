"""Metrics for one pair (estimate, reference) of 48 kHz signals. Needs only numpy; optional packages load on use."""

from timbre_restore.metrics.base import (
    SILENCE_DBFS,
    TARGET_LEVEL_DBFS,
    Metric,
    Score,
    is_silent,
    item_gain,
    score_alone,
    score_pair,
)
from timbre_restore.metrics.catalogue import DEFAULT_SET, SETS, by_name, cost_s
from timbre_restore.metrics.cells import (
    CellRates,
    cell_rates,
    oversuppression_rate,
    oversuppression_rate_high,
    residual_rate,
    residual_rate_high,
)
from timbre_restore.metrics.composite import Composite, cbak, composite, covl, csig
from timbre_restore.metrics.distances import si_sdr
from timbre_restore.metrics.distillmos import distill_mos
from timbre_restore.metrics.dnsmos import Dnsmos, dnsmos, dnsmos_bak, dnsmos_ovrl, dnsmos_p808, dnsmos_sig
from timbre_restore.metrics.perceptual import ESTOI_RATE_HZ, PESQ_RATE_HZ, estoi, pesq_wb
from timbre_restore.metrics.sharing import NotComputableError
from timbre_restore.metrics.speaker import speaker_similarity
from timbre_restore.metrics.spectra import (
    BANDS_KHZ,
    band_gain,
    band_spectral_distance,
    log_spectral_distance,
    mel_cepstral_distortion,
)
from timbre_restore.metrics.visqol import visqol_audio, visqol_high
from timbre_restore.metrics.words import word_error_rate

__all__ = [
    "BANDS_KHZ",
    "DEFAULT_SET",
    "ESTOI_RATE_HZ",
    "PESQ_RATE_HZ",
    "SETS",
    "SILENCE_DBFS",
    "TARGET_LEVEL_DBFS",
    "CellRates",
    "Composite",
    "Dnsmos",
    "Metric",
    "NotComputableError",
    "Score",
    "band_gain",
    "band_spectral_distance",
    "by_name",
    "cbak",
    "cell_rates",
    "composite",
    "cost_s",
    "covl",
    "csig",
    "distill_mos",
    "dnsmos",
    "dnsmos_bak",
    "dnsmos_ovrl",
    "dnsmos_p808",
    "dnsmos_sig",
    "estoi",
    "is_silent",
    "item_gain",
    "log_spectral_distance",
    "mel_cepstral_distortion",
    "oversuppression_rate",
    "oversuppression_rate_high",
    "pesq_wb",
    "residual_rate",
    "residual_rate_high",
    "score_alone",
    "score_pair",
    "si_sdr",
    "speaker_similarity",
    "visqol_audio",
    "visqol_high",
    "word_error_rate",
]
