"""Settings that differ between a resumed run and the interrupted one: which keys may change, and the consequences.

The keys of the networks are compared together with the weights (`checkpoint.restore_state`), the order of the items by
what determines it (`resume.changed_order`). This module handles everything else, key by key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from timbre_restore.errors import CheckpointError
from timbre_restore.training.checkpoints.checkpoint import Checkpoint

REFUSED = {
    "data.segment": "its items have a different length",
    "training.best_metric": "the best value so far was measured with the other metric",
    "training.optimizer": "the saved optimiser state is of another kind",
    "training.freeze": "the saved optimiser state covers only the tensors trained so far",
}
"""Keys that may not change, and why."""
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
"""Keys that may change silently: they do not affect what is learned."""
ELSEWHERE = ("seed", "training.batch_size", "model", "discriminators.names", "discriminators.periods",
             "discriminators.windows", "discriminators.channels")  # fmt: skip
"""Keys that are reported or refused elsewhere, where the order of the items and the weights are compared."""
OF_TRAINING = ("training", "discriminators.loss", "discriminators.segment", "discriminators.every",
               "discriminators.precision", "data.segment", "data.random_gain_db")  # fmt: skip
"""Keys that are compared; the others concern how a corpus is made, and the corpus has been compared."""
EFFECTS = {
    "training.epochs": "the learning rates follow the curves of the new length",
    "training.steps": "the learning rates and phases follow the new length",
    "training.hours": "a length that was planned in hours stays; otherwise the curves follow the new length from here",
    "training.scheduler": "the learning rate continues as if the new value had applied from the start",
    "training.gan_start_epoch": "the GAN is on or off from here on according to the new value",
    "training.validation_batches": "validation uses other items, so `best` compares values that are not comparable",
    "discriminators.loss": "the discriminators were trained for the other loss",
}
"""The effect of a change, by key or by the section that contains it."""
WARMUP = "training.scheduler.warmup_epochs"
USUAL_EFFECT = "the new value applies from here on"


def changed_keys(checkpoint: Checkpoint, record: Mapping[str, Any]) -> list[str]:
    """One sentence per change that the user should know of. Raises `CheckpointError` for changes that are refused."""
    before, now = dict(_flat(checkpoint.content["settings"])), dict(_flat(record))
    # A key that exists in only one version of this project is not a change made by the user.
    changed = [key for key in now if key in before and before[key] != now[key] and _within(key, OF_TRAINING)]
    refused = [f"{key} is {now[key]!r} and was {before[key]!r} ({REFUSED[key]})" for key in changed if key in REFUSED]
    if refused:
        raise CheckpointError(
            f"{checkpoint.folder}: can't be resumed, because {', and '.join(refused)}; set the checkpoint's values "
            "with --set, or start a new run without --resume."
        )
    return [
        f"{key} is {now[key]!r} and was {before[key]!r} in {checkpoint.folder}: "
        f"{_effect(key, int(checkpoint.content['epoch']), (before[key], now[key]))}."
        for key in changed
        if not _within(key, (*FREE, *ELSEWHERE))
    ]


def _effect(key: str, epoch: int, values: tuple[Any, Any]) -> str:
    if key == WARMUP and epoch >= max(values):
        return "the warm-up is over, so only the curve after it changes"
    return next((effect for place, effect in EFFECTS.items() if _within(key, (place,))), USUAL_EFFECT)


def _within(key: str, places: tuple[str, ...]) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in places)


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            # As in JSON, a tuple and a list with the same numbers are equal.
            yield prefix + name, list(value) if isinstance(value, tuple) else value
