"""DeepFilterNet's frames in numpy: window, spectra of hops and back, ERB bands.

The restorer works on the suppressor's own spectrum, so this is its view too. Facts from release v0.5.6 of libDF
(`libDF/src/lib.rs`). Functions take frames `[N, …]` of a signal in order, and any state as an argument.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio.files import HOP_SAMPLES, SAMPLE_RATE_HZ, FloatArray

ComplexArray = NDArray[np.complex64]

WINDOW = 2 * HOP_SAMPLES
BINS = HOP_SAMPLES + 1
ERB_BANDS = 32
NEUTRAL_SNR_DB = 10.0  # the middle of the suppressor's range, for use when it reports nothing
FILTERED_BINS = 96  # below 4.8 kHz the voice is filtered bin by bin, above that only by band gains


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


def analyse(hops: FloatArray, before: FloatArray) -> ComplexArray:
    """Spectra `[…, N, 481]` of hops `[…, N, 480]`; `before` `[…, 480]` is the hop before the first."""
    frames = np.empty((*hops.shape[:-1], WINDOW), np.float32)
    frames[..., HOP_SAMPLES:] = hops
    frames[..., :1, :HOP_SAMPLES] = before[..., None, :]
    frames[..., 1:, :HOP_SAMPLES] = hops[..., :-1, :]
    frames *= WINDOW_SHAPE
    return np.fft.rfft(frames, axis=-1, norm="forward").astype(np.complex64, copy=False)  # numpy 1 gives complex128


def synthesise(spectra: ComplexArray, overlap: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Hops `[N, 480]` from spectra `[N, 481]`, and the overlap `[480]` to pass to the next call."""
    frames = np.fft.irfft(spectra, n=WINDOW, axis=1, norm="forward").astype(np.float32, copy=False)
    frames *= WINDOW_SHAPE
    hops, tails = frames[:, :HOP_SAMPLES], frames[:, HOP_SAMPLES:]
    last = tails[-1].copy() if len(tails) else overlap
    hops[1:] += tails[:-1]
    hops[:1] += overlap
    return hops, last
