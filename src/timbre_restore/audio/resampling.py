"""All resampling happens here: soxr's very high quality, linear phase, no net delay in the complete output."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

QUALITY = "VHQ"


def resample(samples: FloatArray, from_hz: int, to_hz: int) -> FloatArray:
    """Resample a whole signal `[T]`."""
    if from_hz == to_hz:
        return samples
    return np.asarray(soxr.resample(samples, from_hz, to_hz, quality=QUALITY), dtype=np.float32)


class Resampler:
    """Resamples while audio arrives: joined, the pieces equal `resample` of the whole, bit for bit.

    It holds back a few thousand samples, as many as its filter looks ahead.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        same = from_hz == to_hz
        self._stream = None if same else soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality=QUALITY)

    def push(self, samples: FloatArray) -> FloatArray:
        """Take the next samples `[T]` and return what is ready, which may be nothing."""
        return self._step(samples, last=False)

    def flush(self) -> FloatArray:
        """Return the rest and end the stream."""
        return self._step(np.zeros(0, np.float32), last=True)

    def _step(self, samples: FloatArray, *, last: bool) -> FloatArray:
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples, last=last), dtype=np.float32)
