"""Where a run goes on, and that it may: its checkpoint, what it was made of, and the folder that it writes to."""

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
    """What `--resume` names: nothing, the last whole one of the run's own folder (`auto`), or that of a path."""
    if resume is None:
        return None
    if resume != "auto":
        return find_checkpoint(Path(resume), talk=talk)
    if not (settings.output_dir / "checkpoints" / "last.json").is_file():
        talk(f"{settings.output_dir}: holds no run to go on with, so a new one begins.")
        return None
    return find_checkpoint(settings.output_dir, talk=talk)


def changed_order(checkpoint: Checkpoint, order: dict[str, Any]) -> list[str]:
    """What makes the order of the items another than that of the interrupted run, in sentences.

    Raises `CheckpointError` for another corpus.
    """
    before = checkpoint.content["order"]
    if before["corpus"] != order["corpus"]:
        raise CheckpointError(
            f"{checkpoint.folder}: was trained on another list of {before['items']} items than the one of "
            f"{order['items']} given here; give data.output_dir of the corpus that the run began with, or start a new "
            "run without --resume."
        )
    return [
        f"{name} is {order[key]} and was {before[key]} in {checkpoint.folder}: the run goes on in another order, which "
        f"{before[key]} would keep."
        for key, name in (("joined_batch", JOINED_BATCH), ("seed", "seed"))
        if before[key] != order[key]
    ]


def place_in_epoch(checkpoint: Checkpoint, batches: EpochBatches) -> int:
    """The batch of its epoch that the run goes on with.

    By items, where the checkpoint's batches had another size or other segments: as many as were seen then. None is left
    where they were all.
    """
    before = checkpoint.content["order"]
    seen = int(checkpoint.content["batch"]) * int(before["joined_batch"]) * int(before.get("run", batches.run))
    return len(batches) if seen >= batches.length * batches.run else seen // (batches.joined * batches.run)


def make_room(run: Path, checkpoint: Checkpoint | None, state: TrainState, talk: Callable[[str], None]) -> None:
    """A run that does not continue the one in its folder never writes over it: that is moved aside."""
    if checkpoint is not None:
        talk(f"continuing from {checkpoint.folder} (step {checkpoint.content['step']})")
        if run.resolve() in checkpoint.folder.resolve().parents:
            if gone := forget_later(run, checkpoint, state):
                talk(f"warning: what came after it is dropped: {', '.join(gone)}.")
            return
        state.best = math.inf  # of another folder, where this run's best will not lie
    if not (run / "log.jsonl").exists():
        return
    number = 1
    while (aside := run.with_name(f"{run.name}.{number}")).exists():
        number += 1
    try:
        os.replace(run, aside)
    except OSError as exc:
        raise CheckpointError(f"{run}: the older run there can't be moved aside ({exc}); move it by hand.") from exc
    talk(f"the older run in {run} is kept as {aside}")
    if (aside / "run.html").is_file():
        write_page(aside)  # its commands name the place where it lies now
