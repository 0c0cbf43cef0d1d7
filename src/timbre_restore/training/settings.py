"""Everything a run is told, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timbre_restore.models import DiscriminatorSettings, GeneratorSettings


@dataclass(frozen=True)
class TrainSettings:
    """The run; the meanings and ranges are those of `config.Training`. `record` is kept beside every checkpoint."""

    corpus: Path
    output_dir: Path
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    discriminators: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    adversarial_loss: str = "hinge"
    loss_weights: dict[str, float] = field(
        default_factory=lambda: {
            "l1": 3.0,
            "multi_stft": 3.0,
            "adversarial": 1.0,
            "feature_matching": 2.0,
            "compressed": 0.0,
            "over_attenuation": 0.0,
        }
    )
    seed: int = 0
    epochs: int = 60
    batch_size: int = 16
    gan_start_epoch: int = 15
    warmup_epochs: int = 5
    final_factor: float = 0.02
    learning_rate: float = 5e-4
    discriminator_learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    gradient_clip: float = 5.0
    ema_decay: float = 0.999
    mixed_precision: str = "no"
    threads: int = 0
    best_metric: str = "val_multi_stft"
    log_every_steps: int = 10
    checkpoint_minutes: float = 10.0
    validation_batches: int = 0
    num_workers: int = 2
    segment: int = 48_000
    random_gain_db: float = 0.0
    black_box_share: float = 0.0
    trackers: tuple[str, ...] = ("tensorboard",)
    record: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    """What `record` would be without a word of the person's; none to compare with where it is empty."""

    def gan_active(self, epoch: int) -> bool:
        """Whether epoch `epoch` (from 0) trains with discriminators."""
        weights = self.loss_weights
        return epoch >= self.gan_start_epoch and (weights["adversarial"] > 0 or weights["feature_matching"] > 0)
