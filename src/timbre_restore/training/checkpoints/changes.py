"""What a resumed run is told that the interrupted one was not: which keys may change, and what becomes of it.

The networks' own keys are compared with the weights (`checkpoint.restore_state`), the order of the items by what it
follows from (`resume.place_in_epoch`). This is about everything else, key by key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from timbre_restore.errors import CheckpointError
from timbre_restore.training.checkpoints.checkpoint import Checkpoint

REFUSED = {
    "data.segment": "its items have another length",
    "training.best_metric": "what was the best so far was measured by the other",
    "training.optimizer": "it has another memory of the steps before",
    "training.freeze": "the optimiser knows the tensors that moved until now",
}
"""Key, and why not."""
FREE = (
    "data.output_dir",
    "data.num_workers",
    "training.output_dir",
    "training.threads",
    "training.checkpoint_minutes",
    "training.log_every_steps",
    "training.trackers",
    "training.start_from",
)
"""These change nothing that is learned."""
ELSEWHERE = ("seed", "training.batch_size", "model", "discriminators.names", "discriminators.periods",
             "discriminators.windows", "discriminators.channels")  # fmt: skip
"""Said or refused where the order of the items and the weights are compared."""
OF_TRAINING = ("training", "discriminators.loss", "discriminators.segment", "discriminators.every",
               "discriminators.precision", "data.segment", "data.random_gain_db")  # fmt: skip
"""The others are about how a corpus is made, and the corpus has been compared."""
EFFECTS = {
    "training.epochs": "the learning rates go on along the curves of the new length",
    "training.steps": "the learning rates and phases go on along those of the new length",
    "training.hours": "a length that was planned in hours stays; another one takes its curves from here",
    "training.scheduler": "the learning rate goes on as if it had been so from the start",
    "training.gan_start_epoch": "the GAN is on or off from here as the new value says",
    "training.validation_batches": "validation is of other items, so that `best` compares unlike figures",
    "discriminators.loss": "what the discriminators have learned was for the other one",
}
"""What is worth saying of a change, by key or the section that it lies in."""
WARMUP = "training.scheduler.warmup_epochs"
USUAL_EFFECT = "it holds from here on"


def changed_keys(checkpoint: Checkpoint, record: Mapping[str, Any]) -> list[str]:
    """A sentence per change that a person should know of. Raises `CheckpointError` for one that can't be made."""
    before, now = dict(_flat(checkpoint.content["settings"])), dict(_flat(record))
    # A key that only one version of this project knows is no change that a person made.
    changed = [key for key in now if key in before and before[key] != now[key] and _within(key, OF_TRAINING)]
    refused = [f"{key} is {now[key]!r} and was {before[key]!r} ({REFUSED[key]})" for key in changed if key in REFUSED]
    if refused:
        raise CheckpointError(
            f"{checkpoint.folder}: can't be gone on from with another {'; '.join(refused)}; give the checkpoint's "
            "values with --set, or start a new run without --resume."
        )
    return [
        f"{key} is {now[key]!r} and was {before[key]!r} in {checkpoint.folder}: "
        f"{_effect(key, int(checkpoint.content['epoch']), (before[key], now[key]))}."
        for key in changed
        if not _within(key, (*FREE, *ELSEWHERE))
    ]


def _effect(key: str, epoch: int, values: tuple[Any, Any]) -> str:
    if key == WARMUP and epoch >= max(values):
        return "the warm-up is over, so that only the curve after it moves"
    return next((effect for place, effect in EFFECTS.items() if _within(key, (place,))), USUAL_EFFECT)


def _within(key: str, places: tuple[str, ...]) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in places)


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            # As JSON has it: a tuple and a list of the same numbers are the same.
            yield prefix + name, list(value) if isinstance(value, tuple) else value
