"""The health bands: the range of a healthy run's losses in each phase.

The reference recipe has bands for its own losses: L1 0.15 → 0.08 → 0.05 → 0.03, multi-STFT 1.5 → 0.8 → 0.5 → 0.3. Ours
are different: levels are normalised to -20 dBFS RMS, spectral convergence has a floor, logarithms are decimal, and an
untrained generator starts near the suppressor's output. So the bands of L1 and multi-STFT were measured again: four
runs on 17,928 seconds of 28 speakers at -5 to 40 dB SNR started at 0.032 and 0.87 and were at 0.027 and 0.63 after one
epoch, and at 0.026 and 0.59 after two and three. Smaller corpora of the same recordings were within a third of these
values, and the bands' ends leave that margin. D_real and D_fake keep the reference's band: untrained discriminators
have a loss of 1 each, and in a run of two hours on that corpus they were at 1.05 and 0.80 after one epoch with the GAN,
and at 0.98 and 0.84 after two. One is slightly above and the other slightly below, and narrow discriminators fluctuate:
hence the margin of a quarter above.

The only criterion that does not depend on the corpus is the last one, `GAINED`: validation compared with the
suppressor's own output.
"""

from __future__ import annotations

PHASES = ("warm-up", "before GAN", "GAN")

Band = tuple[float, float]
"""The value at which a phase may start, and the value at which it should end."""

BANDS: dict[str, dict[str, Band]] = {
    "warm-up": {"l1": (0.06, 0.04), "multi_stft": (1.0, 0.85)},
    "before GAN": {"l1": (0.04, 0.035), "multi_stft": (0.85, 0.8)},
    "GAN": {"l1": (0.035, 0.035), "multi_stft": (0.8, 0.8), "d_real": (0.5, 1.25), "d_fake": (0.5, 1.25)},
}
"""Bands by phase and loss."""

GAINED = 1.0
"""`val_multi_stft` over `val_multi_stft_degraded` is below this from the end of the warm-up on."""


def ends_below(name: str) -> bool:
    """Whether a loss should fall along its band, and may be below it, rather than stay within a range."""
    return not name.startswith("d_")


def phase_of(epoch: float, *, warmup_epochs: float, gan: bool) -> str:
    """The phase at a position in the run, in epochs from 0."""
    if gan:
        return "GAN"
    return "warm-up" if epoch < warmup_epochs else "before GAN"


def outside(phase: str, name: str, value: float) -> str:
    """`↑` for a value above its band, `↓` for one below it if that is no improvement, otherwise an empty string.

    A loss that should fall may be below its band, which is better than required. One that should stay within its band
    may not.
    """
    band = BANDS.get(phase, {}).get(name)
    if band is None:
        return ""
    begin, end = band
    if not value <= max(band):  # also true for NaN
        return "↑"
    return "↓" if begin < end and value < begin else ""
