"""Spectrograms of one item's signals side by side on a shared scale, showing what was removed and what was restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

WINDOW_SAMPLES, HOP_SAMPLES = 1024, 240
RANGE_DB = 80.0


def spectrograms(waves: Mapping[str, torch.Tensor], sample_rate_hz: int) -> NDArray[np.uint8]:
    """Image `[H, W, 3]` of named signals `[T]`: time to the right, frequency upwards; 0 dB is the loudest cell."""
    # Imported here, because otherwise every start of the program would wait for matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    levels = {name: _level_db(wave) for name, wave in waves.items()}
    loudest = max(float(level.max()) for level in levels.values())
    figure = Figure(figsize=(3.2 * len(levels) + 0.8, 3.2), dpi=90)
    canvas: Any = FigureCanvasAgg(figure)
    # Manual layout: an automatic one would make matplotlib draw twice.
    places = {"left": 0.045, "right": 0.925, "bottom": 0.16, "top": 0.9, "wspace": 0.06}
    panels = figure.subplots(1, len(levels), sharey=True, squeeze=False, gridspec_kw=places)[0]
    for panel, (name, level) in zip(panels, levels.items(), strict=True):
        seconds = waves[name].shape[-1] / sample_rate_hz
        drawn = panel.imshow(
            level - loudest, origin="lower", aspect="auto", cmap="magma", vmin=-RANGE_DB, vmax=0.0,
            extent=(0.0, seconds, 0.0, sample_rate_hz / 2000.0),
        )  # fmt: skip
        panel.set_title(name)
        panel.set_xlabel("s")
        panel.xaxis.set_major_locator(MaxNLocator(5, prune="upper"))  # where the 0 of the next panel is
    panels[0].set_ylabel("kHz")
    panels[0].set_yticks(range(0, sample_rate_hz // 2000 + 1, 4))
    figure.colorbar(drawn, cax=figure.add_axes((0.935, 0.16, 0.01, 0.74)), label="dB")
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _level_db(wave: torch.Tensor) -> NDArray[np.float32]:
    window = torch.hann_window(WINDOW_SAMPLES)
    spectrum = torch.stft(wave, WINDOW_SAMPLES, HOP_SAMPLES, window=window, center=True, return_complex=True)
    return (20.0 * torch.log10(spectrum.abs() + 1e-9)).numpy()
