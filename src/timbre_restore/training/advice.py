"""What is unusual about a run's settings but allowed, said before it begins."""

from __future__ import annotations

import math

import torch

from timbre_restore.training.data import RunData
from timbre_restore.training.device import bf16_is_slow
from timbre_restore.training.optimizers import LEAST_DECAY_OF_MUON
from timbre_restore.training.schedule import Plan
from timbre_restore.training.settings import TrainSettings


def unusual_settings(settings: TrainSettings, plan: Plan, data: RunData, device: torch.device) -> list[str]:
    """A sentence for each, with the remedy."""
    found: list[str] = []
    played = plan.gan_start < plan.length
    precisions = {
        "training.mixed_precision": (settings.mixed_precision, "no"),
        "discriminators.precision": (settings.discriminator_precision if played else "same", "same"),
    }
    for key, (precision, other) in precisions.items():
        if precision == "bf16" and bf16_is_slow(device):
            found.append(
                f"{key} is bf16, but this CPU has no instructions for it: a step takes several times as long as with "
                f"{other}; use --set {key}={other}."
            )
    if settings.long_epochs and math.isinf(plan.long_start):
        found.append(
            f"training.long_segments.epochs: their share of {plan.length:.2g} epochs is less than half an epoch, so no "
            "long segments are used; make the run longer, or start a second run from this one with --init and only "
            "long segments."
        )
    if settings.recordings:
        return found  # a trial is short by design
    if settings.epochs < settings.warmup_epochs:
        found.append(
            f"training.epochs is {settings.epochs}, fewer than training.scheduler.warmup_epochs "
            f"{settings.warmup_epochs}: the warm-up is cut to the length of the run."
        )
    if settings.gan_start_epoch > settings.epochs:  # equality is the intended way to configure a run without a GAN
        found.append(
            f"training.gan_start_epoch is {settings.gan_start_epoch}, but the run has {settings.epochs} epochs: "
            "the GAN never starts."
        )
    if settings.optimizer == "muon" and settings.weight_decay < LEAST_DECAY_OF_MUON:
        found.append(
            f"training.weight_decay is {settings.weight_decay:g} with training.optimizer muon: matrices grow until "
            "they stop learning; use --set training.weight_decay=0.2."
        )
    if data.batches.length < data.batches.joined:
        found.append(
            f"the corpus has {data.batches.length} items, but a step takes {data.batches.joined}: each epoch is a "
            "single short batch."
        )
    if not data.val_items:
        found.append("the validation list is empty: the best checkpoint is chosen by the training loss.")
    return found
