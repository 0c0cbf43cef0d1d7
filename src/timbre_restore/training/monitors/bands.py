"""The health bands: what a healthy run's losses look like in each phase.

The reference recipe has bands for its own losses: L1 0.15 → 0.08 → 0.05 → 0.03, multi-STFT 1.5 → 0.8 → 0.5 → 0.3. Ours
are other numbers: levels are evened to -20 dBFS RMS, spectral convergence has a floor, logarithms are decadic, and an
untrained generator begins near the suppressor's output. So L1 and multi-STFT are measured anew: four runs on 17,928
seconds of 28 speakers at -5 to 40 dB SNR began at 0.032 and 0.87, had 0.027 and 0.63 after one epoch, 0.026 and 0.59
after two and three. Smaller corpora of the same recordings lay within a third of that, and the ends leave that third.
D_real and D_fake keep theirs: untrained discriminators pay 1 each, and in a run of two hours on that corpus they stood
at 1.05 and 0.80 after one epoch of the game, at 0.98 and 0.84 after two. One a little more and the other a little less,
and narrow ones sway: hence the quarter above.

What no corpus moves is the last one, `GAINED`: validation against the suppressor's own output.
"""

from __future__ import annotations

PHASES = ("warm-up", "before GAN", "GAN")

Band = tuple[float, float]
"""From where a phase may begin to where it should end."""

BANDS: dict[str, dict[str, Band]] = {
    "warm-up": {"l1": (0.06, 0.04), "multi_stft": (1.0, 0.85)},
    "before GAN": {"l1": (0.04, 0.035), "multi_stft": (0.85, 0.8)},
    "GAN": {"l1": (0.035, 0.035), "multi_stft": (0.8, 0.8), "d_real": (0.5, 1.25), "d_fake": (0.5, 1.25)},
}
"""By phase, by loss."""

GAINED = 1.0
"""`val_multi_stft` over `val_multi_stft_degraded` is below this from the end of the warm-up on."""


def ends_below(name: str) -> bool:
    """Whether the band of a loss is a way down, which one may be ahead of, rather than a range to stay in."""
    return not name.startswith("d_")


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
