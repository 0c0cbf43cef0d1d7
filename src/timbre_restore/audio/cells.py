"""The grid of time-frequency cells: ERB bands in frames of 10 ms, shared by the rate metrics and the loss `cells`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio.files import SAMPLE_RATE_HZ

CELL_WINDOW = 1536
"""Samples per Hann-windowed frame; a frame begins at every hop."""
BAND_STEPS = 48
TOP_HZ = 20_000.0
ACTIVE_RANGE_DB = 25.0
"""A cell of the clean voice is active if it is at most this far below the peak of its band over time."""


def erb_rate(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """ERB-rate of frequencies, in ERB units (Glasberg and Moore 1990)."""
    return np.asarray(21.4 * np.log10(1.0 + 0.00437 * frequency_hz))


def band_layout() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """First bin of each non-empty band, the bin after its last, and its centre in hertz: `[B]` each.

    Equal steps on the ERB-rate scale from bin 1 to 20 kHz; a step without a bin gives no band.
    """
    bin_hz = SAMPLE_RATE_HZ / CELL_WINDOW
    bins = np.arange(1, int(TOP_HZ // bin_hz) + 1)
    lowest, highest = erb_rate(np.array([bin_hz, TOP_HZ]))
    edges = np.linspace(lowest, highest, BAND_STEPS + 1)
    band = np.digitize(erb_rate(bins.astype(np.float64) * bin_hz), edges) - 1
    band = np.minimum(band, BAND_STEPS - 1)  # 20 kHz itself belongs to the last band
    present, first = np.unique(band, return_index=True)
    start = bins[first]
    stop = np.append(start[1:], bins[-1] + 1)
    centre_hz = (10.0 ** ((edges[present] + edges[present + 1]) / 2.0 / 21.4) - 1.0) / 0.00437
    return start, stop, centre_hz
