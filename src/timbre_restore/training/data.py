"""The data of a run: the training list in the order of the run, and the validation list in a fixed order."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from timbre_restore.corpus.recordings import first_items
from timbre_restore.errors import CorpusError
from timbre_restore.loading import (
    BlackBox,
    EpochBatches,
    FixedBatches,
    Loader,
    RandomGain,
    TimbreRestoreDataset,
    read_list,
)
from timbre_restore.training.record.listened import choose
from timbre_restore.training.settings import TrainSettings

LISTENED_ITEMS = 2


class RunData:
    """The training and validation splits as this process sees them."""

    def __init__(self, settings: TrainSettings, accelerator: Accelerator, *, with_hints: bool) -> None:
        rank, world = accelerator.process_index, accelerator.num_processes
        read = partial(TimbreRestoreDataset, with_noisy=True, with_hints=with_hints, segment=settings.segment)
        most = first_items(settings.corpus, settings.recordings) if settings.recordings else {}
        self._list = _first(read(settings.corpus / "train.txt"), most.get("train"))
        self._fingerprint = _fingerprint(settings.corpus)
        self._settings, self._device = settings, accelerator.device
        self.items = len(self._list)
        order = partial(EpochBatches, len(self._list), seed=settings.seed, rank=rank, world=world)
        self.batches = order(settings.batch_size)
        self.train = self._loader(self.batches)
        self._long: tuple[EpochBatches, Loader] | None = None
        if settings.long_epochs:
            long = order(settings.long_batch_size, run=settings.long_run, window=settings.window)
            self._long = long, self._loader(long)
        if settings.long_alone:  # the length of a run is counted and measured in steps of its first stage
            self.batches, self.train = self.stage(long=True)
        self.val: Loader | None = None
        self.val_items = len(read_list(settings.corpus / "val.txt")[: most.get("val")])
        if self.val_items:
            val_set = _first(read(settings.corpus / "val.txt"), most.get("val"))
            # Counted over all processes, like the items of a step: 2 processes with batches of 8 validate the same
            # items as 1 with batches of 16.
            count = min(settings.validation_batches * settings.batch_size * world or len(val_set), len(val_set))
            # Spread over the list, which is ordered by recording: the first items would all be from one speaker.
            chosen = [i * len(val_set) // count for i in range(count)]
            self.val_batches = -(-count // (settings.batch_size * world))
            own = FixedBatches(chosen[rank::world], settings.batch_size)
            self.val = Loader(val_set, own, device=accelerator.device)
            self.listened = [val_set[i] for i in choose(val_set, chosen, LISTENED_ITEMS)]

    def _loader(self, batches: EpochBatches) -> Loader:
        settings = self._settings
        return Loader(
            self._list,
            batches,
            num_workers=settings.num_workers,
            gain=RandomGain(settings.random_gain_db, settings.seed) if settings.random_gain_db else None,
            black_box=BlackBox(settings.black_box_share, settings.seed) if settings.black_box_share else None,
            device=self._device,
        )

    def stage(self, *, long: bool) -> tuple[EpochBatches, Loader]:
        """The order of an epoch and the loader of its batches, for single items or for long segments."""
        if not long:
            return self.batches, self.train
        assert self._long is not None
        if not len(self._long[0]):
            raise CorpusError(
                f"{self._settings.corpus / 'train.txt'}: lists {self.items} items, but training.long_segments.seconds "
                f"needs {self._settings.long_run} for one segment; lower it or prepare more items."
            )
        return self._long

    def order(self, batches: EpochBatches) -> dict[str, Any]:
        """What determines the order of the items; `corpus` is a fingerprint independent of the corpus's location."""
        return {
            "corpus": self._fingerprint, "items": self.items, "joined_batch": batches.joined, "seed": batches.seed,
            "run": batches.run,
        }  # fmt: skip


def _first(dataset: TimbreRestoreDataset, items: int | None) -> TimbreRestoreDataset:
    """The dataset cut to its first `items`; None keeps all of it."""
    dataset.pairs = dataset.pairs[:items]
    if not dataset.pairs:
        raise CorpusError(
            f"{dataset.list_path}: none of the first recordings belongs to this list; prepare more recordings."
        )
    return dataset


def _fingerprint(corpus: Path) -> str:
    """Hash of the training list, without the common parent folder, and of the table of what was drawn for each item.

    A corpus that was moved has the same fingerprint; one with different noises under the same names does not.
    """
    text = (corpus / "train.txt").read_text(encoding="utf-8")
    places = [Path(place).parent for line in text.splitlines() for place in line.split("|")]
    folder = ""
    with suppress(ValueError):  # absolute and relative paths mixed, which have no common folder
        folder = os.path.commonpath(places)
    digest = hashlib.sha256(text.replace(f"{folder}{os.sep}", "").encode("utf-8"))
    table = corpus / "items.tsv"
    digest.update(table.read_bytes() if table.is_file() else b"")
    return digest.hexdigest()[:16]
