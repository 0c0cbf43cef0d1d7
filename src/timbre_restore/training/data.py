"""What a run is fed with: the training list in an order of its own, the validation list in its own."""

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
    """The two splits, as this process sees them."""

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
        if settings.long_alone:  # a run's length is counted in steps of its first stage, and measured on them
            self.batches, self.train = self.stage(long=True)
        self.val: Loader | None = None
        self.val_items = len(read_list(settings.corpus / "val.txt")[: most.get("val")])
        if self.val_items:
            val_set = _first(read(settings.corpus / "val.txt"), most.get("val"))
            count = min(settings.validation_batches * settings.batch_size or len(val_set), len(val_set))
            # Spread over the list, which is ordered by recording: the first items would be one speaker's.
            chosen = [i * len(val_set) // count for i in range(count)]
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
        """The order of an epoch and its batches: of items, or of long segments."""
        if not long:
            return self.batches, self.train
        assert self._long is not None
        if not len(self._long[0]):
            raise CorpusError(
                f"{self._settings.corpus / 'train.txt'}: lists {self.items} items and training.long_segments.seconds "
                f"takes {self._settings.long_run} for one segment; lower it."
            )
        return self._long

    def order(self, batches: EpochBatches) -> dict[str, Any]:
        """What the order of the items follows from; `corpus` is of the list, wherever the corpus lies."""
        return {
            "corpus": self._fingerprint, "items": self.items, "joined_batch": batches.joined, "seed": batches.seed,
            "run": batches.run,
        }  # fmt: skip


def _first(dataset: TimbreRestoreDataset, items: int | None) -> TimbreRestoreDataset:
    """The dataset without what follows its first `items`; None leaves it whole."""
    dataset.pairs = dataset.pairs[:items]
    if not dataset.pairs:
        raise CorpusError(f"{dataset.list_path}: none of the first recordings is for training; prepare more of them.")
    return dataset


def _fingerprint(corpus: Path) -> str:
    """Of the training list, without the folders that all of it lies in, and of the table that tells what was drawn.

    A corpus that was moved is the same; one of other noises under the same names is not.
    """
    text = (corpus / "train.txt").read_text(encoding="utf-8")
    places = [Path(place).parent for line in text.splitlines() for place in line.split("|")]
    folder = ""
    with suppress(ValueError):  # whole and relative paths beside each other, which have nothing in common
        folder = os.path.commonpath(places)
    digest = hashlib.sha256(text.replace(f"{folder}{os.sep}", "").encode("utf-8"))
    table = corpus / "items.tsv"
    digest.update(table.read_bytes() if table.is_file() else b"")
    return digest.hexdigest()[:16]
