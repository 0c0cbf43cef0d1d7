"""Spectrograms as small PNGs without axes; the page draws those, so that they follow its colours."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, FloatArray, stft
from timbre_restore.errors import MissingExtraError, extra_command

WINDOW_SAMPLES = 1024
RANGE_DB = 80.0
STEP_DB = 1.25  # as fine as the eye can tell; finer steps only make larger files
COLOURS = "magma"
DIFFERENCE_DB = 30.0
DIFFERENCE_COLOURS = "RdBu_r"
Power = NDArray[np.float64]


def power_of(samples: FloatArray) -> Power:
    """What the pictures of `[T]` show: power `[256, N]` of pairs of bins, since a page shows no more rows than that."""
    power = np.abs(stft(samples, WINDOW_SAMPLES, HOP_SAMPLES)) ** 2
    return np.asarray(power[:-1].reshape(WINDOW_SAMPLES // 4, 2, -1).max(axis=1))


def spectrogram_png(power: Power, peak: float) -> bytes:
    """PNG of a `power_of`: time to the right, 0–24 kHz linear upwards, −80…0 dB against `peak`, a power."""
    ratio = power / peak if peak > 0.0 else np.zeros_like(power)
    level_db = 10.0 * np.log10(np.maximum(ratio, 10.0 ** (-RANGE_DB / 10.0)))
    return _png(level_db[::-1])


def difference_png(power: Power, against: Power, peak: float) -> bytes:
    """PNG of how much louder `power` is than `against`, −30 dB (blue) to +30 dB (red); floored at −80 dB."""
    floor = peak * 10.0 ** (-RANGE_DB / 10.0) if peak > 0.0 else 1.0
    ratio = np.maximum(power, floor) / np.maximum(against, floor)
    return _png(10.0 * np.log10(ratio)[::-1], DIFFERENCE_COLOURS, (-DIFFERENCE_DB, DIFFERENCE_DB))


def difference_scale_png() -> bytes:
    """The colours from −30 dB (left) to +30 dB (right), one row high."""
    ends = (-DIFFERENCE_DB, DIFFERENCE_DB)
    return _png(np.linspace(*ends, 128)[None, :], DIFFERENCE_COLOURS, ends)


def scale_png() -> bytes:
    """The colours from −80 dB (left) to 0 dB (right), one row high."""
    return _png(np.linspace(-RANGE_DB, 0.0, 128)[None, :])


def require_matplotlib() -> None:
    """Raise `MissingExtraError` with the install command if pictures can't be made."""
    try:
        import matplotlib  # noqa: F401
        import PIL  # noqa: F401
    except ImportError as exc:
        raise MissingExtraError("matplotlib", extra_command("eval"), "the page with spectrograms") from exc


def _png(level_db: NDArray[np.float64], colours: str = COLOURS, ends: tuple[float, float] = (-RANGE_DB, 0.0)) -> bytes:
    """A picture with a palette: a third of the size of a true-colour one."""
    from matplotlib import colormaps
    from PIL import Image

    low, high = ends
    steps = round((high - low) / STEP_DB)
    index = np.round((np.clip(level_db, low, high) - low) / STEP_DB).astype(np.uint8)
    picture = Image.fromarray(index)
    palette = colormaps[colours](np.linspace(0.0, 1.0, steps + 1))[:, :3]
    picture.putpalette(np.round(255.0 * palette).astype(np.uint8).tobytes())
    target = io.BytesIO()
    picture.save(target, format="PNG")
    return target.getvalue()
