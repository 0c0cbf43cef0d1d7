"""Every metric by key, and the sets that a report may ask for."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable
from typing import Any

from timbre_restore.audio import SAMPLE_RATE_HZ
from timbre_restore.metrics.base import Metric
from timbre_restore.metrics.cells import (
    oversuppression_rate,
    oversuppression_rate_high,
    residual_rate,
    residual_rate_high,
)
from timbre_restore.metrics.composite import cbak, covl, csig
from timbre_restore.metrics.distances import si_sdr
from timbre_restore.metrics.distillmos import distill_mos
from timbre_restore.metrics.dnsmos import dnsmos_bak, dnsmos_ovrl, dnsmos_p808, dnsmos_sig
from timbre_restore.metrics.perceptual import ESTOI_RATE_HZ, PESQ_RATE_HZ, estoi, pesq_wb
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

CELLS: dict[str, Any] = {"cost_s": 0.03, "group": "cells"}
SPECTRA: dict[str, Any] = {"cost_s": 0.06, "group": "spectra"}
LISTENER: dict[str, Any] = {"cost_s": 0.25, "group": "pesq"}
DNSMOS: dict[str, Any] = {"needs_reference": False, "cost_s": 0.4, "group": "dnsmos"}


def _fixed(compute: Callable[..., float], **chosen: float) -> Callable[..., float]:
    """`compute` with some arguments fixed, keeping its docstring."""
    return functools.update_wrapper(functools.partial(compute, **chosen), compute)


def _band_metrics(prefix: str, name: str, compute: Callable[..., float], **chosen: float) -> tuple[Metric, ...]:
    better: Any = "lower" if prefix == "lsd" else "zero"
    return tuple(
        Metric(
            f"{prefix}_{low}_{high}",
            f"{name}, {low}–{high} kHz",
            "dB",
            better,
            SAMPLE_RATE_HZ,
            _fixed(compute, band=band, **chosen),
            high * 2000,
            **SPECTRA,
        )
        for band, (low, high) in enumerate(BANDS_KHZ)
    )


CORE = (
    Metric("osr", "over-suppression", "%", "lower", 48_000, oversuppression_rate, **CELLS),
    Metric("osr_hf", "over-suppression, 8–20 kHz", "%", "lower", 48_000, oversuppression_rate_high, 32_000, **CELLS),
    Metric("resid", "residual noise", "%", "lower", 48_000, residual_rate, **CELLS),
    Metric("resid_hf", "residual noise, 8–20 kHz", "%", "lower", 48_000, residual_rate_high, 32_000, **CELLS),
    Metric("lsd", "log-spectral distance", "dB", "lower", 48_000, log_spectral_distance, **SPECTRA),
    Metric("sisdr", "SI-SDR", "dB", "higher", 48_000, si_sdr, cost_s=0.01),
    Metric("pesq", "PESQ-WB", "MOS", "higher", PESQ_RATE_HZ, pesq_wb, **LISTENER),
    Metric("estoi", "ESTOI", "", "higher", ESTOI_RATE_HZ, estoi, cost_s=0.06),
)
BANDS = (
    *_band_metrics("gain", "level", band_gain),
    *_band_metrics("gain_p10", "level, 10th percentile", band_gain, percentile=10.0),
    *_band_metrics("lsd", "log-spectral distance", band_spectral_distance),
    Metric("mcd", "mel-cepstral distortion", "dB", "lower", 48_000, mel_cepstral_distortion, **SPECTRA),
)
RATINGS = (
    Metric("csig", "CSIG", "MOS", "higher", PESQ_RATE_HZ, csig, **LISTENER),
    Metric("cbak", "CBAK", "MOS", "higher", PESQ_RATE_HZ, cbak, **LISTENER),
    Metric("covl", "COVL", "MOS", "higher", PESQ_RATE_HZ, covl, **LISTENER),
    Metric("dnsmos_sig", "DNSMOS speech", "MOS", "higher", PESQ_RATE_HZ, dnsmos_sig, **DNSMOS),
    Metric("dnsmos_bak", "DNSMOS background", "MOS", "higher", PESQ_RATE_HZ, dnsmos_bak, **DNSMOS),
    Metric("dnsmos_ovrl", "DNSMOS overall", "MOS", "higher", PESQ_RATE_HZ, dnsmos_ovrl, **DNSMOS),
    Metric("dnsmos_p808", "DNSMOS P.808", "MOS", "higher", PESQ_RATE_HZ, dnsmos_p808, **DNSMOS),
)
SPEAKER = Metric("speaker", "speaker similarity", "", "higher", PESQ_RATE_HZ, speaker_similarity, cost_s=0.15)
VISQOL: dict[str, Any] = {"cost_s": 1.3, "group": "visqol"}
OPTIONAL = (
    Metric("visqol", "ViSQOL audio", "MOS", "higher", 48_000, visqol_audio, **VISQOL),
    Metric("visqol_hf", "ViSQOL similarity above 8 kHz", "", "higher", 48_000, visqol_high, 32_000, **VISQOL),
    Metric("distillmos", "DistillMOS", "MOS", "higher", PESQ_RATE_HZ, distill_mos, needs_reference=False, cost_s=1.6),
    Metric("wer", "word errors, English", "%", "lower", PESQ_RATE_HZ, word_error_rate, cost_s=1.3, most=2.0),
)

DEFAULT_SET: tuple[Metric, ...] = (*CORE, *BANDS, *RATINGS)
"""What a report shows by default: every metric that installs without special steps and does not need torch."""

SETS: dict[str, tuple[Metric, ...]] = {
    "core": CORE,
    "default": DEFAULT_SET,
    "more": (*DEFAULT_SET, SPEAKER),
    "all": (*DEFAULT_SET, SPEAKER, *OPTIONAL),
}
"""Sets by name, each contained in the next."""


def by_name(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics for `names` (keys or set names), each once and in the order of the catalogue.

    Raises ValueError that suggests the closest known name for each unknown one.
    """
    known = {metric.key: (metric,) for metric in SETS["all"]} | SETS
    asked = list(names)
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(f"unknown metric {', '.join(_with_nearest(name, known) for name in unknown)}.")
    keys = {metric.key for name in asked for metric in known[name]}
    return tuple(metric for metric in SETS["all"] if metric.key in keys)


def _with_nearest(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f"'{name}' (did you mean '{nearest[0]}'?)"


def cost_s(metrics: Iterable[Metric]) -> float:
    """Rough CPU seconds for 10 s of audio, each group counted once."""
    groups: dict[str, float] = {}
    for metric in metrics:
        name = metric.group or metric.key
        groups[name] = max(groups.get(name, 0.0), metric.cost_s)
    return sum(groups.values())
