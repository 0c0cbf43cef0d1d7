"""Trackers that receive curves and sounds besides the log: TensorBoard and Weights & Biases, through accelerate."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from timbre_restore.errors import ConfigError, MissingExtraError, extra_command
from timbre_restore.training.record.pictures import spectrograms

PROJECT = "timbre-restore"
EXTRAS = {"tensorboard": "train", "wandb": "wandb"}
SILENT_MODES = ("offline", "disabled", "dryrun")
REMEDY = "run `wandb login`, set WANDB_MODE=offline, or remove it from training.trackers."


def require_trackers(names: Sequence[str]) -> None:
    """Raise `MissingExtraError` for a tracker that is not installed, and `ConfigError` for W&B without a key."""
    for name in names:
        found = importlib.util.find_spec(name)
        # Without an origin it is not a package but a folder of that name, such as W&B creates next to a program.
        if found is None or found.origin is None:
            raise MissingExtraError(name, extra_command(EXTRAS[name]), f"training.trackers: {name}")
    if "wandb" in names and os.environ.get("WANDB_MODE") not in SILENT_MODES:
        with _wandb_in_words() as wandb:
            if wandb.setup().settings.mode not in SILENT_MODES and not wandb.login(prompt=False):
                raise ConfigError([f"training.trackers: wandb has no API key; {REMEDY}"])


def start_trackers(
    accelerator: Any, names: Sequence[str], run: Path, *, number: str, settings: Mapping[str, Any]
) -> None:
    """Start the trackers that the accelerator was created with; W&B continues the run with the same `number`."""
    wandb = {"dir": str(run), "name": run.name, "id": number, "resume": "allow", "config": dict(settings)}
    with _wandb_in_words() if "wandb" in names else nullcontext():
        accelerator.init_trackers(PROJECT, init_kwargs={"wandb": wandb})


def give_sounds(trackers: Sequence[Any], step: int, items: Mapping[str, Mapping[str, torch.Tensor]], rate: int) -> None:
    """Send audio of each item's named signals `[T]`, and an image of their spectrograms side by side."""
    if not trackers:
        return
    for item, given in items.items():
        waves = {name: wave.nan_to_num() for name, wave in given.items()}  # in a run that continued with a warning
        picture = spectrograms(waves, rate)
        for tracker in trackers:
            if tracker.name == "tensorboard":
                for name, wave in waves.items():
                    tracker.writer.add_audio(f"{item}/{name}", wave.clamp(-1, 1)[None], step, sample_rate=rate)
                tracker.writer.add_image(f"{item}/spectrograms", picture, step, dataformats="HWC")
                tracker.writer.flush()
            else:
                import wandb

                sounds = {f"{item}/{name}": wandb.Audio(wave.numpy(), sample_rate=rate) for name, wave in waves.items()}
                tracker.run.log({**sounds, f"{item}/spectrograms": wandb.Image(picture)}, step=step)


@contextmanager
def _wandb_in_words() -> Iterator[Any]:
    """The wandb package, with its errors (no network, a wrong key) turned into `ConfigError`."""
    import wandb

    try:
        yield wandb
    except wandb.Error as exc:
        raise ConfigError([f"training.trackers: wandb can't start ({' '.join(str(exc).split())}); {REMEDY}"]) from exc
