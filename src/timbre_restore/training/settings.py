"""All settings of a run, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timbre_restore.models import DiscriminatorSettings, GeneratorSettings


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a run, with meanings and ranges as in `config.Training`. `record` is stored with every checkpoint."""

    corpus: Path
    output_dir: Path
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    discriminators: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    adversarial_loss: str = "hinge"
    discriminator_segment: int = 24_576
    discriminator_every: int = 1
    discriminator_precision: str = "same"
    discriminator_layout: str = "channels_last"
    loss_weights: dict[str, float] = field(
        default_factory=lambda: {
            "l1": 3.0,
            "multi_stft": 3.0,
            "adversarial": 1.0,
            "feature_matching": 2.0,
            "compressed": 0.0,
            "over_attenuation": 0.0,
            "silence": 0.0,
            "mel": 0.0,
            "perceptual": 0.0,
            "cells": 0.0,
        }
    )
    seed: int = 0
    epochs: int = 60
    steps: int | None = None
    hours: float | None = None
    batch_size: int = 16
    gan_start_epoch: int = 15
    gan_ramp_epochs: float = 1.0
    long_epochs: int = 0
    long_run: int = 30
    """Number of items in a long segment."""
    long_batch_size: int = 2
    window: int = 0
    """Length in samples of the windows of a long segment, within which gradients stay; 0 for the whole segment."""
    freeze: tuple[str, ...] = ()
    start_from: Path | None = None
    warmup_epochs: int = 5
    final_factor: float = 0.02
    optimizer: str = "adamw"
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
    recordings: int = 0
    """Train and validate only on items from this many recordings, the first of the corpus; 0 uses everything."""
    trackers: tuple[str, ...] = ("tensorboard",)
    record: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    """What `record` would be with no setting changed by the user; empty if there is nothing to compare with."""

    @property
    def long_alone(self) -> bool:
        """Whether the run uses only long segments, whatever its length."""
        return self.long_epochs >= self.epochs

    @property
    def has_gan(self) -> bool:
        """Whether any loss that involves the discriminators has a weight."""
        return self.loss_weights["adversarial"] > 0 or self.loss_weights["feature_matching"] > 0

    @property
    def reaches_gan(self) -> bool:
        """Whether the discriminators are ever used: the GAN starts before the run ends."""
        return self.has_gan and self.gan_start_epoch < self.epochs
