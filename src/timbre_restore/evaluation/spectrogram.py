"""A spectrogram as a small PNG, without axes: the page draws those, so that they follow its colours."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, FloatArray, stft
from timbre_restore.errors import MissingExtraError

WINDOW_SAMPLES = 1024
RANGE_DB = 80.0
STEP_DB = 1.25  # coarser than the eye needs, and it halves the file
COLOURS = "magma"


def peak_power(samples: FloatArray) -> float:
    """Largest cell of `[T]`: the 0 dB that the spectrograms of one item share. 0.0 for silence."""
    return float(_power(samples).max())


def spectrogram_png(samples: FloatArray, peak: float) -> bytes:
    """PNG of `[T]`: time to the right, 0–24 kHz linear upwards, −80…0 dB against `peak` (a power)."""
    level_db = 10.0 * np.log10(np.maximum(_power(samples), 1e-30) / max(peak, 1e-30))
    steps = np.round(np.clip(level_db, -RANGE_DB, 0.0) / STEP_DB) * STEP_DB
    return _png(steps)


def scale_png() -> bytes:
    """The colours from −80 dB (left) to 0 dB (right), one row high."""
    return _png(np.linspace(-RANGE_DB, 0.0, 128)[None, :])


def require_matplotlib() -> None:
    """Raise `MissingExtraError` with the command when pictures can't be made."""
    try:
        import matplotlib.image  # noqa: F401
    except ImportError as exc:
        command = "pip install 'timbre-restore[eval]'"
        raise MissingExtraError("matplotlib", command, "the page with spectrograms") from exc


def _power(samples: FloatArray) -> NDArray[np.float64]:
    """Power `[256, N]`: pairs of bins, since a page shows no more rows than that."""
    power = np.abs(stft(samples, WINDOW_SAMPLES, HOP_SAMPLES)) ** 2
    return np.asarray(power[:-1].reshape(WINDOW_SAMPLES // 4, 2, -1).max(axis=1))


def _png(level_db: NDArray[np.float64]) -> bytes:
    from matplotlib.image import imsave

    target = io.BytesIO()
    imsave(target, level_db, vmin=-RANGE_DB, vmax=0.0, cmap=COLOURS, origin="lower", format="png")
    return target.getvalue()
