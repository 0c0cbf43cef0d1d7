"""What a run is fed with: the training list in an order of its own, the validation list in its own."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from timbre_restore.loading import (
    BlackBox,
    EpochBatches,
    FixedBatches,
    Loader,
    RandomGain,
    TimbreRestoreDataset,
    read_list,
)
from timbre_restore.training.listened import choose
from timbre_restore.training.settings import TrainSettings

LISTENED_ITEMS = 2


class RunData:
    """The two splits, as this process sees them."""

    def __init__(self, settings: TrainSettings, accelerator: Accelerator, *, with_hints: bool) -> None:
        rank, world = accelerator.process_index, accelerator.num_processes
        stored = partial(TimbreRestoreDataset, with_noisy=True, with_hints=with_hints, segment=settings.segment)
        train_set = stored(settings.corpus / "train.txt")
        self._fingerprint = _fingerprint(settings.corpus)
        self.batches = EpochBatches(len(train_set), settings.batch_size, seed=settings.seed, rank=rank, world=world)
        self.train = Loader(
            train_set,
            self.batches,
            num_workers=settings.num_workers,
            gain=RandomGain(settings.random_gain_db, settings.seed) if settings.random_gain_db else None,
            black_box=BlackBox(settings.black_box_share, settings.seed) if settings.black_box_share else None,
            device=accelerator.device,
        )
        self.val: Loader | None = None
        self.val_items = len(read_list(settings.corpus / "val.txt"))
        if self.val_items:
            val_set = stored(settings.corpus / "val.txt")
            most = settings.validation_batches * settings.batch_size or len(val_set)
            # Spread over the list, which is ordered by recording: the first items would be one speaker's.
            chosen = [i * len(val_set) // min(most, len(val_set)) for i in range(min(most, len(val_set)))]
            own = FixedBatches(chosen[rank::world], settings.batch_size)
            self.val = Loader(val_set, own, device=accelerator.device)
            self.listened = [val_set[i] for i in choose(val_set, chosen, LISTENED_ITEMS)]

    def order(self) -> dict[str, Any]:
        """What the order of the items follows from; `corpus` is of the list, wherever the corpus lies."""
        batches = self.batches
        return {
            "corpus": self._fingerprint, "items": batches.length, "joined_batch": batches.joined, "seed": batches.seed,
        }  # fmt: skip


def _fingerprint(corpus: Path) -> str:
    """Of the training list, without the folders that all of it lies in: a corpus that was moved is the same."""
    text = (corpus / "train.txt").read_text(encoding="utf-8")
    places = [Path(place).parent for line in text.splitlines() for place in line.split("|")]
    folder = os.path.commonpath(places) if places else ""
    return hashlib.sha256(text.replace(f"{folder}{os.sep}", "").encode("utf-8")).hexdigest()[:16]
