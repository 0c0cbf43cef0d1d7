"""A classical suppressor from two papers, without weights: what conference systems used before neural networks.

Noise by minima-controlled recursive averaging (Cohen & Berdugo 2002, IEEE Signal Processing Letters 9(1), equations 1
to 12, without the bias compensation), gain by Wiener's rule on the decision-directed a-priori SNR (Ephraim & Malah
1984, equation 51), in bins of 50 Hz and hops of 10 ms. It leaves musical noise where the networks leave none, and
removes quiet consonants as they do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, FloatArray, hann
from timbre_restore.suppressors.base import HopSuppressor, SuppressorSettings, refuse_settings_of_dfn3

_WINDOW = 2 * HOP_SAMPLES
_MINIMUM_FRAMES = 100  # the minimum is tracked over one to two times this: longer than any syllable
_POWER_SMOOTHING, _PRESENCE_SMOOTHING, _NOISE_SMOOTHING = 0.8, 0.2, 0.95
_PRESENCE_RATIO = 5.0
_PRIORI_SMOOTHING = 0.98
_GAIN_FLOOR = 0.05  # -26 dB
_TINY = 1e-12


def load_spectral_gate(settings: SuppressorSettings) -> HopSuppressor:
    """The suppressor; it needs no package. Raises `SuppressorError` on unsupported settings."""
    build = describe_spectral_gate(settings)
    return HopSuppressor("spectral_gate", build, "Apache-2.0", HOP_SAMPLES, lambda padded: (_run(padded), None))


def describe_spectral_gate(settings: SuppressorSettings) -> str:
    """Its description, for the rows of a corpus."""
    refuse_settings_of_dfn3(settings)
    return "spectral gate 1 (MCRA, decision-directed Wiener)"


def _run(padded: FloatArray) -> FloatArray:
    window = np.sqrt(hann(_WINDOW))
    hops = padded.reshape(-1, HOP_SAMPLES).astype(np.float64)
    earlier = np.concatenate([np.zeros((1, HOP_SAMPLES)), hops[:-1]])
    spectra = np.fft.rfft(np.concatenate([earlier, hops], axis=1) * window, axis=1)
    frames = np.fft.irfft(spectra * _gains(np.abs(spectra) ** 2), n=_WINDOW, axis=1) * window
    tails = np.concatenate([np.zeros((1, HOP_SAMPLES)), frames[:-1, HOP_SAMPLES:]])
    return np.asarray((frames[:, :HOP_SAMPLES] + tails).reshape(-1), dtype=np.float32)


def _gains(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gain of every frame and bin `[N, F]`; a frame depends only on itself and earlier frames."""
    padded = np.pad(power, ((0, 0), (1, 1)), mode="edge")
    smooth = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    gains = np.empty_like(power)
    level = lowest = candidate = smooth[0]
    noise, presence, kept = power[0] + _TINY, np.zeros(power.shape[1]), np.ones(power.shape[1])
    for n, (own, around) in enumerate(zip(power, smooth, strict=True)):
        level = _POWER_SMOOTHING * level + (1.0 - _POWER_SMOOTHING) * around
        lowest, candidate = np.minimum(lowest, level), np.minimum(candidate, level)
        if n % _MINIMUM_FRAMES == _MINIMUM_FRAMES - 1:
            lowest, candidate = np.minimum(candidate, level), level
        present = level > _PRESENCE_RATIO * lowest
        presence = _PRESENCE_SMOOTHING * presence + (1.0 - _PRESENCE_SMOOTHING) * present
        smoothing = _NOISE_SMOOTHING + (1.0 - _NOISE_SMOOTHING) * presence
        noise = smoothing * noise + (1.0 - smoothing) * own + _TINY
        posterior = own / noise
        priori = _PRIORI_SMOOTHING * kept + (1.0 - _PRIORI_SMOOTHING) * np.maximum(posterior - 1.0, 0.0)
        gains[n] = np.maximum(priori / (1.0 + priori), _GAIN_FLOOR)
        kept = gains[n] ** 2 * posterior
    return gains
