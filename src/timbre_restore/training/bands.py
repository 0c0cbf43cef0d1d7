"""The health bands: what a healthy run's losses look like in each phase."""

from __future__ import annotations

PHASES = ("warm-up", "before GAN", "GAN")

Band = tuple[float, float]
"""From where a phase may begin to where it should end."""

BANDS: dict[str, dict[str, Band]] = {
    "warm-up": {"l1": (0.15, 0.08), "multi_stft": (1.5, 0.8)},
    "before GAN": {"l1": (0.08, 0.05), "multi_stft": (0.8, 0.5)},
    "GAN": {"l1": (0.05, 0.03), "multi_stft": (0.5, 0.3), "d_real": (0.5, 1.0), "d_fake": (0.5, 1.0)},
}
"""By phase, by loss."""


def phase_of(epoch: float, *, warmup_epochs: float, gan: bool) -> str:
    """The phase at a place in the run, counted in epochs from 0."""
    if gan:
        return "GAN"
    return "warm-up" if epoch < warmup_epochs else "before GAN"


def outside(phase: str, name: str, value: float) -> str:
    """`↑` for a value above its band, `↓` for one below it where that is no gain, nothing within or without a band.

    A loss that should fall may lie below its band: that is better than asked. One that should hold may not.
    """
    band = BANDS.get(phase, {}).get(name)
    if band is None:
        return ""
    begin, end = band
    if not value <= max(band):  # which NaN is not either
        return "↑"
    return "↓" if begin < end and value < begin else ""
