"""Checks of what the corpus is made of: source shares, bandwidths, draws, and stored against current settings.

All findings are warnings, except a segment that training would refuse: a share that is off changes the voice but does
not break it, and old settings are often intended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import FloatArray
from timbre_restore.audit.item import BAND_HZ, SPECTRUM_BANDS
from timbre_restore.audit.listing import Corpus
from timbre_restore.audit.report import Report, Spectrum, of, same_values, some

NARROW_HZ = 12_000.0
"""A recording that ends below it, whatever its sample rate, has no top octave to learn from."""
SHARE_TOLERANCE = 0.1
SHOWN_DB = -100.0


@dataclass(frozen=True)
class Expected:
    """What the configuration expects of the corpus; only given values are compared."""

    segment: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """In the form the corpus stores them when it is prepared."""


def check_settings(corpus: Corpus, expected: Expected, report: Report) -> None:
    """Compare configuration, suppressor builds and corpus."""
    made = corpus.settings.get("segment")
    if expected.segment and made and made != expected.segment:
        report.broken(
            "settings",
            f"data.segment is {expected.segment}, but the items were made with {made} samples; "
            "set it to that, or prepare the corpus again",
        )
    if corpus.settings and expected.settings:
        for key in sorted((corpus.settings.keys() | expected.settings.keys()) - {"passes"}):  # a size, not a setting
            there, here = corpus.settings.get(key), expected.settings.get(key)
            if there != here:
                report.warn("settings", f"{key} is {here!r} now but was {there!r} when the corpus was prepared")
    elif not corpus.settings:
        report.warn("settings", "the corpus does not record the settings it was prepared with")
    builds = same_values(corpus.rows.text("suppressor_build")) if corpus.rows else []
    report.fact("sources", "suppressor", "; ".join(builds) or "unknown", builds)
    names = same_values(corpus.rows.text("suppressor")) if corpus.rows else []
    if len(builds) > max(1, len(names)):
        report.warn(
            "settings",
            f"prepared with {len(builds)} builds of {len(names)} suppressors, so builds of one differ: {some(builds)}",
        )


def check_shares(corpus: Corpus, expected: Expected, report: Report) -> None:
    """Compare recordings per source with the weights."""
    if corpus.rows is None or not corpus.rows.count:
        return
    sources = corpus.rows.text("source")
    recordings: dict[str, set[str]] = {}
    for source, recording in zip(sources, corpus.rows.text("recording"), strict=True):
        recordings.setdefault(source, set()).add(recording)
    whole = sum(len(own) for own in recordings.values())
    weights = _weights(corpus, expected)
    for source in sorted(set(recordings) | set(weights)):
        own, items = len(recordings.get(source, ())), sources.count(source)
        wanted = weights.get(source)
        share = own / whole
        said = "" if wanted is None else f", {100 * wanted:.0f} % wanted"
        name = source_name(corpus, source)
        report.fact(
            "sources",
            name,
            f"{of(own, whole, 'recordings')}{said}; {items} items",
            {"recordings": own, "share": share, "weight": wanted, "items": items},
        )
        if wanted is not None and abs(share - wanted) > SHARE_TOLERANCE + 1 / whole:
            report.warn(
                "shares",
                f"{name} gives {100 * share:.0f} % of the recordings, but its weight asks for {100 * wanted:.0f} %",
            )


def check_bandwidth(corpus: Corpus, facts: NDArray[Any], spectra: dict[int, FloatArray], report: Report) -> None:
    """Report each source's bandwidth, as recorded and as measured in the items, which reveals upsampled material."""
    sources = corpus.column("source")
    heard = np.where(facts["whole"], facts["bandwidth_hz"], np.nan)
    declared = corpus.numbers("bandwidth_hz")
    rates = corpus.numbers("native_rate_hz")
    recordings = corpus.column("recording")
    limited = corpus.numbers("band_limit_hz")
    for source in sorted(set(sources)):
        own = np.array([name == source for name in sources])
        voiced = own & (heard > 0) & ~(limited > 0)  # drawn band limits say nothing about the source
        if not voiced.any():
            continue
        name = source_name(corpus, source)
        median = float(np.median(heard[voiced]))
        narrow: dict[str, float] = {}
        widest: dict[str, float] = {}
        for i in np.flatnonzero(voiced).tolist():
            widest[recordings[i]] = max(widest.get(recordings[i], 0.0), float(heard[i]))
            if declared[i] < NARROW_HZ:
                narrow[recordings[i]] = declared[i]
        narrow |= {recording: top for recording, top in widest.items() if top < NARROW_HZ}
        rate = same_values([f"{value / 1000:g}" for value in rates[own].tolist() if value == value])
        report.fact(
            "bandwidth",
            name,
            f"median {median / 1000:.1f} kHz; files at {', '.join(rate) or '?'} kHz",
            {"median_hz": median, "narrow_recordings": len(narrow)},
        )
        if narrow:
            names = [f"{recording or 'items'} ({top / 1000:.1f} kHz)" for recording, top in sorted(narrow.items())]
            said = f"{of(len(narrow), len(widest), 'recordings')} contain nothing above {NARROW_HZ / 1000:.0f} kHz"
            report.warn("bandwidth", f"{name}: {said}: upsampled or low-passed, e.g. {some(names)}", len(narrow))
        bands = [spectra[i] for i in sorted(spectra) if own[i] and facts["whole"][i]]
        if bands:
            report.spectra.append(_spectrum(name, bands))
    report.distribution("bandwidth of clean", "kHz", heard[heard > 0] / 1000.0)


def check_draws(corpus: Corpus, report: Report) -> None:
    """Report what was drawn and what was skipped."""
    taken = sum(row.get("kind") == "recording" for row in corpus.skipped)
    report.fact("sources", "skipped", f"{taken} takes, {len(corpus.skipped) - taken} noises and rooms", taken)
    if corpus.rows is None:
        return
    report.distribution("speech level drawn", "dBFS", corpus.rows.numbers("speech_level_dbfs"))
    snr = corpus.rows.numbers("snr_db")
    report.distribution("SNR drawn", "dB", snr)
    without = int(np.isposinf(snr).sum())
    if without:
        report.fact("sources", "without noise", of(without, len(snr), "items"), without)


def source_name(corpus: Corpus, source: str) -> str:
    """The source's number and the name of its folder."""
    known = corpus.settings.get("sources")
    try:
        return f"source {source} ({PurePath(known[int(source)]['path']).name})" if known else f"source {source}"
    except (ValueError, LookupError, TypeError):
        return f"source {source}" if source else "all"


def _weights(corpus: Corpus, expected: Expected) -> dict[str, float]:
    """Share by source number, from the configuration or else from the corpus's own settings."""
    given = (expected.settings or corpus.settings).get("sources") or []
    try:
        weights = [float(source["weight"]) for source in given]
    except (KeyError, TypeError, ValueError):
        return {}
    return {str(number): weight / sum(weights) for number, weight in enumerate(weights)}


def _spectrum(name: str, bands: list[FloatArray]) -> Spectrum:
    level = np.mean(10.0 * np.log10(np.maximum(np.stack(bands), 10.0 ** (SHOWN_DB / 10.0))), axis=0, dtype=np.float64)
    tops = np.arange(1, SPECTRUM_BANDS + 1) * BAND_HZ
    return Spectrum(name, tuple(tops.tolist()), tuple(np.round(level, 2).tolist()))
