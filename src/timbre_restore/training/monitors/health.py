"""Compares the end of each phase with the health bands; each is reported once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from timbre_restore.training.monitors.bands import BANDS, GAINED, ends_below
from timbre_restore.training.monitors.findings import Finding
from timbre_restore.training.settings import TrainSettings

CHANGES = {
    "warm-up": "raise training.scheduler.warmup_epochs, or training.learning_rate if the loss still falls",
    "before GAN": "raise training.gan_start_epoch, or prepare more recordings (data.passes)",
    "GAN": "lower training.loss_weights.adversarial, or raise training.epochs",
}
GAME_CHANGE = (
    "set training.discriminator_learning_rate by the scores: higher if score_real and score_fake are similar, lower "
    "if they are far apart"
)


class Health:
    """Checks the means of the last epoch of each phase."""

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings

    def phase_ended(self, step: int, phase: str, metrics: Mapping[str, float]) -> Iterator[Finding]:
        """Findings for losses outside their bands; `metrics` are the training means and `val_*` values of an epoch."""
        for name, band in BANDS[phase].items():
            if name not in metrics:
                continue
            low, high = (0.0, band[1]) if ends_below(name) else band
            if not low <= metrics[name] <= high:
                wanted = f"at most {high:g}" if ends_below(name) else f"{low:g} to {high:g}"
                yield Finding(
                    "outside_band",
                    step,
                    f"{name} is {metrics[name]:.3g} at the end of the phase '{phase}'; a healthy run has {wanted}",
                    "the phase was too short, or the corpus is harder than those that the bands were measured on",
                    CHANGES[phase] if ends_below(name) else GAME_CHANGE,
                )
        ours, before = metrics.get("val_multi_stft"), metrics.get("val_multi_stft_degraded")
        if ours is not None and before is not None and ours >= GAINED * before:
            yield Finding(
                "nothing_gained",
                step,
                f"val_multi_stft is {ours:.3g} at the end of the phase '{phase}', and the suppressor's own output has "
                f"{before:.3g}",
                "the restored voice is no closer to the clean voice than the input",
                CHANGES[phase],
            )
