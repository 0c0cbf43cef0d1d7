"""Resuming a run: finding its checkpoint, checking that the data match, and preparing the output folder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timbre_restore.errors import CheckpointError
from timbre_restore.loading import EpochBatches
from timbre_restore.training.checkpoints.checkpoint import Checkpoint, find_checkpoint, forget_later
from timbre_restore.training.record.page import write_page
from timbre_restore.training.settings import TrainSettings
from timbre_restore.training.state import TrainState

JOINED_BATCH = "joined_batch (training.batch_size times processes)"


def checkpoint_to_resume(settings: TrainSettings, resume: str | None, talk: Callable[[str], None]) -> Checkpoint | None:
    """The checkpoint that `--resume` names: none, the last intact one in the run's own folder (`auto`), or a path."""
    if resume is None:
        return None
    if resume != "auto":
        return find_checkpoint(Path(resume), talk=talk)
    if not (settings.output_dir / "checkpoints" / "last.json").is_file():
        talk(f"{settings.output_dir}: holds no run to resume, so a new one starts.")
        return None
    return find_checkpoint(settings.output_dir, talk=talk)


def changed_order(checkpoint: Checkpoint, order: dict[str, Any]) -> list[str]:
    """Sentences about changes that make the order of the items differ from that of the interrupted run.

    Raises `CheckpointError` for a different corpus.
    """
    before = checkpoint.content["order"]
    if before["corpus"] != order["corpus"]:
        raise CheckpointError(
            f"{checkpoint.folder}: was trained on a different list of {before['items']} items from the one with "
            f"{order['items']} items given here; set data.output_dir to the corpus that the run started with, or start "
            "a new run without --resume."
        )
    return [
        f"{name} is {order[key]} and was {before[key]} in {checkpoint.folder}: the run continues with its items in a "
        f"different order; {before[key]} would keep the order."
        for key, name in (("joined_batch", JOINED_BATCH), ("seed", "seed"))
        if before[key] != order[key]
    ]


def place_in_epoch(checkpoint: Checkpoint, batches: EpochBatches) -> int:
    """The batch of its epoch with which the run continues.

    If the checkpoint's batches had a different size or different segments, the position is converted by the number of
    items seen. If all items were seen, it is the end of the epoch.
    """
    before = checkpoint.content["order"]
    seen = int(checkpoint.content["batch"]) * int(before["joined_batch"]) * int(before.get("run", batches.run))
    return len(batches) if seen >= batches.length * batches.run else seen // (batches.joined * batches.run)


def make_room(run: Path, checkpoint: Checkpoint | None, state: TrainState, talk: Callable[[str], None]) -> None:
    """Prepare the folder of a run: an older run that it does not continue is moved aside, never overwritten."""
    if checkpoint is not None:
        talk(f"continuing from {checkpoint.folder} (step {checkpoint.content['step']})")
        if run.resolve() in checkpoint.folder.resolve().parents:
            if gone := forget_later(run, checkpoint, state):
                talk(f"warning: everything after it is deleted: {', '.join(gone)}.")
            return
        state.best = math.inf  # the best checkpoint so far is in another folder
    if not (run / "log.jsonl").exists():
        return
    number = 1
    while (aside := run.with_name(f"{run.name}.{number}")).exists():
        number += 1
    try:
        os.replace(run, aside)
    except OSError as exc:
        raise CheckpointError(f"{run}: the older run can't be moved aside ({exc}); move it manually.") from exc
    talk(f"the older run in {run} is kept as {aside}")
    if (aside / "run.html").is_file():
        write_page(aside)  # so that its commands name the new location
