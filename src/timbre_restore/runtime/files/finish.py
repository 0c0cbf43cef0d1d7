"""The last steps before samples are stored: limiting to full scale, and rounding without distortion.

**Limiting.** Where a peak exceeds full scale, the gain falls before it and rises after it, within 2 h on either side,
where h is `REACH_S`:

    r[n] = min(1, 1 / max_c |x_c[n]|)        gain that the sample needs, the same for all channels
    m[n] = min r[n-h … n+h]                  applied early and held
    g[n] = mean m[n-h … n+h]                 smoothed, without a step

Every m averaged in g[n] has n within its window, so g[n] ≤ r[n], and nothing exceeds full scale. Elsewhere g is 1 and
the samples are unchanged.

**Dither.** Rounding to 16 bits produces an error that follows the voice and is audible as grit where it fades out.
Triangular noise, ±1 step wide, makes the mean and power of the error independent of the signal (Lipshitz, Wannamaker &
Vanderkooy, "Quantization and Dither: A Theoretical Survey", J. Audio Eng. Soc. 40(5), 1992). A sample that lies on a
step needs no rounding and gets no dither: digital silence stays silent, and a copy stays exact. At 24 bits, float32 has
nothing left to round.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import FloatArray
from timbre_restore.runtime.files.formats import BITS, UNLIMITED

Finished = NDArray[np.int32] | FloatArray
"""`[T, C]`: integers left-aligned in 32 bits, or floats."""

REACH_S = 0.0025
DITHERED_BITS = 16
_DITHER_SEED = 1992


class Finish:
    """Turns the restored samples of one file, block by block, into the samples to store."""

    def __init__(self, subtype: str, rate_hz: int, channels: int) -> None:
        self._channels = channels
        self._limiter = None if subtype in UNLIMITED else Limiter(rate_hz, channels)
        self._rounding = Rounding(BITS[subtype], channels) if subtype in BITS else None

    @property
    def limited_samples(self) -> int:
        """Samples that exceeded full scale so far."""
        return self._limiter.limited_samples if self._limiter else 0

    def push(self, samples: FloatArray) -> Finished:
        """Take the next samples `[T, C]` and return what is ready."""
        return self._stored(self._limiter.push(samples) if self._limiter else samples)

    def flush(self) -> Finished:
        """Return the rest and end the file."""
        return self._stored(self._limiter.flush()) if self._limiter else np.zeros((0, self._channels), np.float32)

    def _stored(self, samples: FloatArray) -> Finished:
        return self._rounding(samples) if self._rounding else samples


class Limiter:
    """Keeps `[T, C]` within ±1, with a short delay."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        self._half = max(1, round(REACH_S * rate_hz))
        self._held: FloatArray = np.zeros((2 * self._half, channels), np.float32)
        self.limited_samples = 0

    def push(self, samples: FloatArray) -> FloatArray:
        """Take the next samples and return those whose neighbourhood is known."""
        self.limited_samples += int(np.count_nonzero(np.abs(samples) > 1.0))
        seen = np.concatenate([self._held, samples])
        ready = max(0, len(seen) - 4 * self._half)
        self._held = seen[ready:]
        inner: FloatArray = seen[2 * self._half : 2 * self._half + ready]
        peaks = np.abs(seen).max(axis=1)
        if not ready or peaks.max() <= 1.0:
            return inner
        # The product's last bit may exceed 1.
        limited: FloatArray = np.clip(inner * self._gains(peaks)[:, None], -1.0, 1.0)
        return limited

    def flush(self) -> FloatArray:
        """Return the rest."""
        return self.push(np.zeros((2 * self._half, self._held.shape[1]), np.float32))

    def _gains(self, peaks: FloatArray) -> FloatArray:
        width = 2 * self._half + 1
        needed = 1.0 / np.maximum(peaks.astype(np.float64), 1.0)
        held = np.lib.stride_tricks.sliding_window_view(needed, width).min(axis=1)
        sums = np.concatenate([[0.0], np.cumsum(held)])
        gains: FloatArray = ((sums[width:] - sums[:-width]) / width).astype(np.float32)
        return gains


class Rounding:
    """Rounds samples `[T, C]` within ±1 to integers of the given number of bits, with dither where it is audible.

    Each channel has its own noise, from a fixed seed and independent of the blocks: equal input, equal output.
    """

    def __init__(self, bits: int, channels: int) -> None:
        self._bits, self._full = bits, 2.0 ** (bits - 1)
        self._draws = [np.random.default_rng([_DITHER_SEED, channel]) for channel in range(channels)]

    def __call__(self, samples: FloatArray) -> NDArray[np.int32]:
        """Rounded samples, in the upper bits of 32-bit integers."""
        steps = samples.astype(np.float64) * self._full
        if self._bits <= DITHERED_BITS:
            dither = np.stack([draw.random((len(steps), 2)).sum(axis=1) - 1.0 for draw in self._draws], axis=1)
            steps = np.where(steps == np.rint(steps), steps, steps + dither)
        whole = np.clip(np.rint(steps), -self._full, self._full - 1.0).astype(np.int64)
        return (whole << (32 - self._bits)).astype(np.int32)
