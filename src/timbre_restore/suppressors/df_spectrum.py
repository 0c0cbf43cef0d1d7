"""DeepFilterNet's features and filters on the frames of `audio.frames`, in numpy.

Facts from release v0.5.6 of libDF (`libDF/src/lib.rs` and `tract.rs`). Every function takes frames `[N, …]` of one
signal in order, and any state from the preceding frames as an argument.
"""

from __future__ import annotations

import numpy as np

from timbre_restore.audio import FloatArray
from timbre_restore.audio.frames import BAND_WIDTHS, ERB_BANDS, FILTERED_BINS, ComplexArray

FILTER_TAPS = 5
NORM_DECAY = np.float32(0.99)  # exp(-10 ms / 1 s), rounded to three digits (`calc_norm_alpha`)
_BAND_STARTS = np.concatenate([[0], np.cumsum(BAND_WIDTHS)[:-1]])


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
    """Spectra `[N, 481]` times the gains `[N, 32]` of their ERB bands."""
    return spectra * np.repeat(gains, BAND_WIDTHS, axis=1)


def deep_filter(spectra: ComplexArray, taps: ComplexArray) -> ComplexArray:
    """Low bins `[N, 96]`: for each, the sum over five frames, oldest first, of `taps` `[N, 96, 5]` times spectrum.

    `spectra` `[N + 4, 481]` begins four frames before the first.
    """
    count = len(taps)
    out = np.zeros((count, FILTERED_BINS), dtype=np.complex64)
    for k in range(FILTER_TAPS):
        out += spectra[k : k + count, :FILTERED_BINS] * taps[:, :, k]
    return out


def post_filter(noisy: ComplexArray, enhanced: ComplexArray, beta: float) -> ComplexArray:
    """Further attenuate bins that are mostly noise (Valin et al. 2020, section 3.4, as `post_filter` in libDF).

    The last bin, 24 kHz, is unchanged, because libDF processes the bins in fours.
    """
    tiny = np.float32(1e-12)
    factor = post_filter_factor((np.abs(enhanced) / (np.abs(noisy) + tiny)).astype(np.float32), beta)
    factor[:, -1] = 1.0
    return (enhanced * factor).astype(np.complex64)


def post_filter_factor(gain: FloatArray, beta: float) -> FloatArray:
    """(1 + b) / (1 + b / sin^2(pi/2 · g)): the factor by which the post-filter multiplies a gain g."""
    sine = np.sin(np.clip(gain, np.float32(1e-12), np.float32(1.0)) * np.float32(np.pi / 2))
    factor: FloatArray = (1.0 + beta) / (1.0 + beta / sine**2)
    return factor
