"""Inspecting one item: what is wrong with its files, and the numbers that every check is based on.

Alignment. Two signals that contain the same sound share its phase in every bin, whatever the suppressor did to the
levels. So the phase-only cross-correlation (Knapp and Carter 1976, GCC-PHAT) of bins up to 6 kHz has one sharp peak,
whose height is about the share of bins that both signals have in common:

    r(lag) = mean over bins of cos(phase(A · conj B) − ω lag),     1 for equal signals, about 0.02 for unrelated ones

It finds a shift where the plain cross-correlation of voiced speech has one peak per pitch period, and it distinguishes
an unrelated signal from a quiet copy. Copies at another level are found only without a room; shifted copies are not
searched for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import (
    HINT_VALUES,
    HOP_SAMPLES,
    SAMPLE_RATE_HZ,
    FloatArray,
    Pair,
    active_rms,
    locate_packed,
    read_audio,
    read_hints_into,
    read_packed,
    rms,
    to_db,
)
from timbre_restore.errors import AudioFileError
from timbre_restore.metrics import NotComputableError, cell_rates

ROLES = ("degraded", "clean", "noisy")
FULL_SCALE = 32767.0 / 32768.0
NEAR_SAMPLES = 48  # 1 ms: how far reverberation can move a peak
LONGEST_LAG_SAMPLES = 4800
BAND_HZ = 100
SPECTRUM_BANDS = SAMPLE_RATE_HZ // 2 // BAND_HZ
BANDWIDTH_RANGE_DB = 70.0
OFFSET_FLOOR = 0.001  # -60 dBFS
FLAT_TOP_LEVEL = 0.03  # below it, rounding to 16 bit makes tops flat
KEYS = 8
KEY_LEVEL = 16.0 / 32768.0  # the peak position of a quieter stretch depends on rounding
_HIGH_HZ = 8000.0

ITEM = np.dtype(
    [
        ("whole", "?"), ("level", "f4", 3), ("full_scale", "i4"), ("flat_tops", "i4"), ("offset_db", "f4"),
        ("lag", "i4", 3), ("match", "f4", 3), ("near", "f4", 3), ("bandwidth_hz", "f4"),
        ("osr", "f4"), ("osr_hf", "f4"), ("residual", "f4"), ("digest", "u8", 2), ("keys", "i8", KEYS),
    ]
)  # fmt: skip
"""Measurements of one item. `level`: active level of each role, dBFS. `offset_db`: mean relative to RMS, the worse of
degraded and clean. `lag`, `match`, `near`: lag and value of the highest phase correlation, and the highest value within
1 ms of lag 0, for degraded against noisy, clean against noisy, and degraded against clean. `osr`, `osr_hf` and
`residual` are NaN where the item was not measured in detail. A key is -1 where there is none.
"""


@dataclass(frozen=True)
class Fault:
    """One file that is not what its line in the list promises."""

    item: int
    role: str
    path: Path
    what: str
    """The kind of fault, in the same words for the same kind."""
    detail: str
    """What was found in this file."""


@dataclass(frozen=True)
class Look:
    """How to inspect items; picklable."""

    segment: int
    lead: int
    """Extra samples of noisy after the segment."""
    close_step: int
    """The detailed measurements are taken on every `close_step`-th item."""


@dataclass(frozen=True)
class Seen:
    """Results for consecutive items."""

    facts: NDArray[Any]
    """`[N]` of `ITEM`."""
    faults: list[Fault]
    spectra: dict[int, FloatArray]
    """For the items measured in detail: power of clean in bands of 100 Hz, the strongest scaled to 1."""


def look_at(first: int, pairs: list[Pair], hinted: list[bool], look: Look) -> Seen:
    """Inspect items `first`, `first + 1`, …, some of which have hints; a pure function of their files."""
    facts = np.zeros(len(pairs), dtype=ITEM)
    faults: list[Fault] = []
    spectra: dict[int, FloatArray] = {}
    for place, pair in enumerate(pairs):
        item = first + place
        signals: list[FloatArray] = []
        for role, path in zip(ROLES, (pair.degraded, pair.clean, pair.noisy), strict=True):
            length = look.segment + (look.lead if role == "noisy" else 0)
            samples, what, detail = read_role(path, length)
            signals.append(samples)
            if what:
                faults.append(Fault(item, role, path, what, detail))
        if hinted[place]:
            what, detail = look_at_hints(pair.hints, look.segment)
            if what:
                faults.append(Fault(item, "hints", pair.hints, what, detail))
        if all(len(samples) for samples in signals):
            close = item % look.close_step == 0
            bands = _measure(facts[place], signals, look.segment, close=close)
            if close:
                spectra[item] = bands
    return Seen(facts, faults, spectra)


def look_at_hints(path: Path, segment: int) -> tuple[str, str]:
    """The kind of fault in an item's hints ('' if none), and the detail."""
    if locate_packed(path) is None and not path.is_file():
        return "missing", str(path)
    try:
        read_hints_into(path, np.empty((segment // HOP_SAMPLES, HINT_VALUES), np.float16))
    except AudioFileError as exc:
        return "unreadable or cut off", str(exc)
    return "", ""


def read_role(path: Path, length: int) -> tuple[FloatArray, str, str]:
    """Samples `[length]` (empty in case of a fault), the kind of fault ('' if none), and the detail."""
    nothing = np.zeros(0, dtype=np.float32)
    try:
        if locate_packed(path) is not None:
            return read_packed(path, length).astype(np.float32) / np.float32(32768.0), "", ""
        if not path.is_file():
            return nothing, "missing", str(path)
        samples, rate = read_audio(path)
    except AudioFileError as exc:
        return nothing, "invalid (NaN or infinite samples)" if "NaN" in str(exc) else "unreadable or cut off", str(exc)
    if rate != SAMPLE_RATE_HZ or len(samples) != 1:
        return nothing, f"not mono at {SAMPLE_RATE_HZ} Hz", f"{path}: {len(samples)} channels at {rate} Hz"
    if samples.shape[1] != length:
        return nothing, "of the wrong length", f"{path}: {samples.shape[1]} samples, expected {length}"
    return samples[0], "", ""


def _measure(fact: Any, signals: list[FloatArray], segment: int, *, close: bool) -> FloatArray:
    """Fill one row of `facts`; returns the band powers of clean."""
    degraded, clean, noisy = (samples[:segment] for samples in signals)
    fact["whole"] = True
    fact["level"] = [to_db(active_rms(samples)) for samples in (degraded, clean, noisy)]
    fact["full_scale"] = sum(int(np.count_nonzero(np.abs(samples) >= FULL_SCALE)) for samples in signals)
    fact["flat_tops"] = flat_tops(clean)
    fact["offset_db"] = max(offset_db(degraded), offset_db(clean))
    size = 1 << int(np.ceil(np.log2(segment + 2 * LONGEST_LAG_SAMPLES)))
    spectra = [np.fft.rfft(samples, size) for samples in (degraded, clean, noisy)]
    for place, (one, other) in enumerate(((0, 2), (1, 2), (0, 1))):
        found = phase_lag(spectra[one], spectra[other], size)
        fact["lag"][place], fact["match"][place], fact["near"][place] = found
    bands = band_power(spectra[1], size)
    fact["bandwidth_hz"] = bandwidth_hz(bands)
    fact["digest"] = np.frombuffer(hashlib.blake2b(clean.tobytes(), digest_size=16).digest(), dtype="<u8")
    fact["keys"] = peak_keys(clean)
    fact["osr"] = fact["osr_hf"] = fact["residual"] = np.nan
    if close:
        try:
            rates = cell_rates(degraded, clean)
            fact["osr"], fact["residual"] = rates.oversuppressed, rates.residual
            fact["osr_hf"] = cell_rates(degraded, clean, above_hz=_HIGH_HZ).oversuppressed
        except NotComputableError:
            pass  # silent, or nothing above 8 kHz: stays NaN and is left out
    return bands


def phase_lag(signal: NDArray[Any], reference: NDArray[Any], size: int) -> tuple[int, float, float]:
    """Lag of `signal` behind `reference` (spectra `[size/2 + 1]`) to within four samples, its correlation, and the
    highest correlation within `NEAR_SAMPLES` of lag 0."""
    bins = size // 8
    cross = signal[:bins] * np.conj(reference[:bins])
    strength = np.abs(cross)
    phase = np.divide(cross, strength, out=np.zeros_like(cross), where=strength > 0)
    step = 4  # bins from a quarter of the band give every fourth sample
    correlation = np.fft.irfft(phase, size // step) * (size / step / (2 * bins))
    most, near = LONGEST_LAG_SAMPLES // step, NEAR_SAMPLES // step
    window = np.concatenate([correlation[-most:], correlation[: most + 1]])
    place = int(np.argmax(window))
    return (place - most) * step, float(window[place]), float(window[most - near : most + near + 1].max())


def flat_tops(samples: FloatArray) -> int:
    """How often `[T]` stays at its highest or its lowest value for two samples or more.

    A voice reaches its extreme once; one that was clipped before it was stored reaches it again and again.
    """
    found = 0
    for extreme in (float(samples.max(initial=0.0)), float(samples.min(initial=0.0))):
        if abs(extreme) >= FLAT_TOP_LEVEL:
            top = samples == extreme
            flat = np.flatnonzero(top[1:] & top[:-1])
            found = max(found, int(np.count_nonzero(np.diff(flat, prepend=-2) > 1)))
    return found


def offset_db(samples: FloatArray) -> float:
    """Mean of `[T]` relative to its RMS in dB: 0 is pure offset; -200 for a mean too small to matter."""
    mean = abs(float(np.mean(samples, dtype=np.float64)))
    return to_db(mean) - to_db(rms(samples)) if mean >= OFFSET_FLOOR else to_db(0.0)


def band_power(spectrum: NDArray[Any], size: int) -> FloatArray:
    """Power in bands of 100 Hz `[240]`, the strongest scaled to 1; zeros for silence."""
    power = np.abs(spectrum) ** 2
    first = np.arange(SPECTRUM_BANDS) * BAND_HZ * size // SAMPLE_RATE_HZ
    bands = np.add.reduceat(power[:-1], first)
    top = float(bands.max())
    return np.asarray(bands / top if top > 0 else bands, dtype=np.float32)


def bandwidth_hz(bands: FloatArray) -> float:
    """Upper edge of the highest band within 70 dB of the strongest; 0 for silence.

    Rounding to 16 bit is 70 dB or more below a voice at -45 dBFS, so a quieter one seems wider than it is.
    """
    heard = np.flatnonzero(bands >= 10.0 ** (-BANDWIDTH_RANGE_DB / 10.0))
    return float((heard[-1] + 1) * BAND_HZ) if len(heard) else 0.0


def peak_keys(samples: FloatArray) -> NDArray[np.int64]:
    """`[8]` numbers that do not depend on the level of `[T]`: the positions of the peaks in its stretches."""
    length = len(samples) // (2 * KEYS)
    if length < HOP_SAMPLES // 2:
        return np.full(KEYS, -1, dtype=np.int64)
    stretches = np.abs(samples[: 2 * KEYS * length]).reshape(2 * KEYS, length)
    place = stretches.argmax(axis=1)
    loud = stretches.max(axis=1) >= KEY_LEVEL
    keys = place[0::2] * length + place[1::2]
    return np.where(loud[0::2] & loud[1::2], keys, -1).astype(np.int64)
