"""DeepFilterNet's view of sound: analysis, synthesis, bands, features and its filters, in numpy.

Facts from release v0.5.6 of libDF (`libDF/src/lib.rs` and `tract.rs`). Every function takes frames `[N, …]` of one
signal in order, and whatever must be remembered from the frames before as an argument.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, SAMPLE_RATE_HZ

FloatArray = NDArray[np.float32]
ComplexArray = NDArray[np.complex64]

WINDOW = 2 * HOP_SAMPLES
BINS = HOP_SAMPLES + 1
ERB_BANDS = 32
FILTERED_BINS = 96  # below 4.8 kHz the voice is filtered bin by bin, above it has band gains alone
FILTER_TAPS = 5
NORM_DECAY = np.float32(0.99)  # exp(-10 ms / 1 s), rounded to three digits (`calc_norm_alpha`)


def _vorbis_window() -> FloatArray:
    """sin(pi/2 · sin^2(pi (n + 1/2) / N)): power-complementary at half overlap (Vorbis I specification, 4.3.1)."""
    sine = np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW)
    return np.sin(0.5 * np.pi * sine * sine).astype(np.float32)


def _band_widths() -> NDArray[np.int64]:
    """Bins per ERB band: equal steps on the ERB scale, at least two bins each (`erb_fb`)."""
    scale, fewest = 24.7 * 9.265, 2
    top = 9.265 * np.log1p(SAMPLE_RATE_HZ / 2 / scale)
    edges = scale * np.expm1(np.arange(1, ERB_BANDS + 1) * top / ERB_BANDS / 9.265)
    widths, before, owed = [], 0, 0
    for edge in np.round(edges / (SAMPLE_RATE_HZ / WINDOW)).astype(int):
        width = int(edge) - before - owed
        owed = max(0, fewest - width)
        widths.append(max(fewest, width))
        before = int(edge)
    widths[-1] += BINS - sum(widths)
    return np.array(widths)


WINDOW_SHAPE = _vorbis_window()
BAND_WIDTHS = _band_widths()
_BAND_STARTS = np.concatenate([[0], np.cumsum(BAND_WIDTHS)[:-1]])


def analyse(hops: FloatArray, before: FloatArray) -> ComplexArray:
    """Spectra `[N, 481]` of hops `[N, 480]`; `before` `[480]` is the hop that came before the first."""
    earlier = np.concatenate([before[None], hops[:-1]])
    frames = np.concatenate([earlier, hops], axis=1) * WINDOW_SHAPE
    return (np.fft.rfft(frames, axis=1) / WINDOW).astype(np.complex64)


def synthesise(spectra: ComplexArray, overlap: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Hops `[N, 480]` of spectra `[N, 481]`, and the overlap `[480]` that the next hop starts from."""
    frames = (np.fft.irfft(spectra, n=WINDOW, axis=1) * WINDOW).astype(np.float32) * WINDOW_SHAPE
    tails = np.concatenate([overlap[None], frames[:, HOP_SAMPLES:]])
    return frames[:, :HOP_SAMPLES] + tails[:-1], tails[-1]


def initial_norms() -> tuple[FloatArray, FloatArray]:
    """Running level per ERB band in dB `[32]`, and running magnitude per filtered bin `[96]`, before any sound."""
    erb = np.linspace(-60.0, -90.0, ERB_BANDS, dtype=np.float32)
    return erb, np.linspace(0.001, 0.0001, FILTERED_BINS, dtype=np.float32)


def features(
    spectra: ComplexArray, erb_norm: FloatArray, unit_norm: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """ERB features `[N, 32]`, complex features `[2, N, 96]`, and both running norms after the last frame."""
    power = spectra.real**2 + spectra.imag**2
    levels = 10.0 * np.log10(np.add.reduceat(power, _BAND_STARTS, axis=1) / BAND_WIDTHS + 1e-10)
    means = _running(levels.astype(np.float32), erb_norm)
    low = spectra[:, :FILTERED_BINS]
    norms = _running(np.abs(low), unit_norm)
    unit = low / np.sqrt(norms)
    erb = ((levels - means) / 40.0).astype(np.float32)
    return erb, np.stack([unit.real, unit.imag]).astype(np.float32), means[-1], norms[-1]


def _running(values: FloatArray, state: FloatArray) -> FloatArray:
    """s[n] = (1 - decay)·x[n] + decay·s[n-1], along the frames."""
    out = (np.float32(1.0) - NORM_DECAY) * values
    for row in out:
        row += NORM_DECAY * state
        state = row
    return out


def apply_gains(spectra: ComplexArray, gains: FloatArray) -> ComplexArray:
    """Spectra `[N, 481]` times the gain of each bin's ERB band, gains `[N, 32]`."""
    return spectra * np.repeat(gains, BAND_WIDTHS, axis=1)


def deep_filter(spectra: ComplexArray, taps: ComplexArray) -> ComplexArray:
    """Low bins `[N, 96]`: each the sum over five frames, oldest first, of tap `[N, 96, 5]` times spectrum.

    `spectra` `[N + 4, 481]` begins four frames before the first.
    """
    count = len(taps)
    out = np.zeros((count, FILTERED_BINS), dtype=np.complex64)
    for k in range(FILTER_TAPS):
        out += spectra[k : k + count, :FILTERED_BINS] * taps[:, :, k]
    return out


def post_filter(noisy: ComplexArray, enhanced: ComplexArray, beta: float) -> ComplexArray:
    """Attenuates bins that are mostly noise further (Valin et al. 2020, section 3.4, as `post_filter` of libDF).

    The last bin, 24 kHz, stays as it is: libDF goes through the bins in fours.
    """
    tiny = np.float32(1e-12)
    factor = post_filter_factor(np.abs(enhanced) / (np.abs(noisy) + tiny), beta)
    factor[:, -1] = 1.0
    return (enhanced * factor).astype(np.complex64)


def post_filter_factor(gain: FloatArray, beta: float) -> FloatArray:
    """(1 + b) / (1 + b / sin^2(pi/2 · g)): what the post-filter makes of a gain g is g times this."""
    sine = np.sin(np.clip(gain, np.float32(1e-12), np.float32(1.0)) * np.float32(np.pi / 2))
    factor: FloatArray = (1.0 + beta) / (1.0 + beta / sine**2)
    return factor
