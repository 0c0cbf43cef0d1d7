"""Numbers for one pair (estimate, reference) of 48 kHz signals, numpy only; optional packages load when used."""

from timbre_restore.metrics.base import (
    SILENCE_DBFS,
    TARGET_LEVEL_DBFS,
    Metric,
    NotComputableError,
    Score,
    is_silent,
    item_gain,
    score_pair,
)
from timbre_restore.metrics.cells import (
    CellRates,
    cell_rates,
    oversuppression_rate,
    oversuppression_rate_high,
    residual_rate,
    residual_rate_high,
)
from timbre_restore.metrics.distances import log_spectral_distance, si_sdr
from timbre_restore.metrics.perceptual import ESTOI_RATE_HZ, PESQ_RATE_HZ, estoi, pesq_wb

DEFAULT_SET = (
    Metric("osr", "over-suppression", "%", "lower", 48_000, oversuppression_rate),
    Metric("osr_hf", "over-suppression, 8–20 kHz", "%", "lower", 48_000, oversuppression_rate_high, 32_000),
    Metric("resid", "residual noise", "%", "lower", 48_000, residual_rate),
    Metric("resid_hf", "residual noise, 8–20 kHz", "%", "lower", 48_000, residual_rate_high, 32_000),
    Metric("lsd", "log-spectral distance", "dB", "lower", 48_000, log_spectral_distance),
    Metric("sisdr", "SI-SDR", "dB", "higher", 48_000, si_sdr),
    Metric("pesq", "PESQ-WB", "MOS", "higher", PESQ_RATE_HZ, pesq_wb),
    Metric("estoi", "ESTOI", "", "higher", ESTOI_RATE_HZ, estoi),
)

__all__ = [
    "DEFAULT_SET",
    "SILENCE_DBFS",
    "TARGET_LEVEL_DBFS",
    "CellRates",
    "Metric",
    "NotComputableError",
    "Score",
    "cell_rates",
    "estoi",
    "is_silent",
    "item_gain",
    "log_spectral_distance",
    "oversuppression_rate",
    "oversuppression_rate_high",
    "pesq_wb",
    "residual_rate",
    "residual_rate_high",
    "score_pair",
    "si_sdr",
]
