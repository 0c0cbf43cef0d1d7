"""Batches of items, read by worker processes, with errors passed on intact.

A worker reads files directly into memory shared with this process and sends a message of a few bytes when a batch is
complete; this process converts it to float32 in one pass, which also frees the memory for a later batch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from timbre_restore.audio import FULL_SCALE, Int16Array
from timbre_restore.errors import CorpusError, TimbreRestoreError
from timbre_restore.loading.batches import Batches
from timbre_restore.loading.dataset import TimbreRestoreDataset
from timbre_restore.loading.draws import BlackBox, RandomGain
from timbre_restore.loading.store import Slots, hints_tensor, joined, split, to_tensor

PREFETCHED = 2
"""Batches read ahead per worker."""


@dataclass(frozen=True)
class _Request:
    """A batch to read, and where to put it; each `run` consecutive items share their draws."""

    epoch: int
    indices: list[int]
    run: int
    slot: int


@dataclass(frozen=True)
class _Answer:
    """A batch that was read. `signals` is None if they are in the slot."""

    request: _Request
    gains: NDArray[np.float64]
    signals: list[Int16Array] | None
    """The last one holds the hints, as raw 16-bit values, if the dataset provides them."""


class Loader:
    """The batches of an epoch: a list of float32 tensors `[B, 1, T]` on `device`, one per signal of the dataset.

    Hints come last, as `[B, N, 225]`, if the dataset provides them. Items of one segment (`Batches.run`) are joined and
    share their draws. Batches are the same, bit for bit, for any number of workers, which live as long as the loader.
    `gain` draws one gain for all signals of an item, and for the low bins of its hints; None leaves them as stored.
    `black_box` withholds the hints of some items. Raises the `CorpusError` of an item that can't be read. Only one
    iteration may be active at a time.
    """

    def __init__(
        self,
        dataset: TimbreRestoreDataset,
        batches: Batches,
        *,
        num_workers: int = 0,
        prefetched: int = PREFETCHED,
        gain: RandomGain | None = None,
        black_box: BlackBox | None = None,
        device: torch.device | str = "cpu",
        start_method: str | None = None,
    ) -> None:
        self.batches = batches
        self.device = torch.device(device)
        method = start_method or multiprocessing.get_start_method()
        slots = None
        if num_workers and method == "fork":
            # One more than can be requested: one is being converted while the next is requested.
            slots = Slots(num_workers * prefetched + 1, batches.most_items, stored_lengths(dataset))
        self._slots = slots
        self._with_hints = dataset.with_hints
        self._answers: DataLoader[Any] = DataLoader(
            _Reader(dataset, slots, gain, black_box),
            sampler=_Requests(batches, slots.count if slots else 1),
            batch_size=None,  # a request is already a batch
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=_leave_signals_to_the_run if num_workers else None,
            prefetch_factor=prefetched if num_workers else None,
            multiprocessing_context=method if num_workers else None,
            generator=torch.Generator(),  # torch draws a seed per epoch; keep it off the global stream
        )

    def __len__(self) -> int:
        """Batches of a full epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        answers = iter(self._answers)
        while (answer := _next(answers)) is not None:
            if isinstance(answer, CorpusError):
                raise answer
            yield self._tensors(answer)

    def _tensors(self, answer: _Answer) -> list[torch.Tensor]:
        signals = answer.signals
        if signals is None:
            assert self._slots is not None
            signals = self._slots.signals(answer.request.slot, len(answer.request.indices))
        scale = torch.from_numpy((answer.gains / FULL_SCALE).astype(np.float32)).reshape(-1, 1, 1)
        waves = signals[:-1] if self._with_hints else signals
        tensors = [to_tensor(wave, scale, self.device) for wave in waves]
        if self._with_hints:
            tensors.append(hints_tensor(signals[-1], scale * FULL_SCALE, self.device))
        return joined(tensors, self.batches.run)


def stored_lengths(dataset: TimbreRestoreDataset) -> tuple[int, ...]:
    """Number of 16-bit values in each part of an item, with hints last if there are any."""
    return (*dataset.lengths, *([dataset.hint_values] if dataset.with_hints else []))


class _Requests:
    """The batches as requests; slots are used in turn, so one is reused only after its content has been taken."""

    def __init__(self, batches: Batches, slots: int) -> None:
        self.batches = batches
        self.slots = slots

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[_Request]:
        epoch = self.batches.epoch
        for number, indices in enumerate(self.batches):
            yield _Request(epoch, indices, self.batches.run, number % self.slots)


class _Reader(Dataset[_Answer | CorpusError]):
    """Reads whole batches. Errors are returned as values: an exception raised in a worker arrives as text only."""

    def __init__(
        self, dataset: TimbreRestoreDataset, slots: Slots | None, gain: RandomGain | None, black_box: BlackBox | None
    ) -> None:
        self.dataset = dataset
        self.slots = slots
        self.gain = gain
        self.black_box = black_box

    def __getitem__(self, request: _Request) -> _Answer | CorpusError:
        items, lengths = len(request.indices), stored_lengths(self.dataset)
        if self.slots is None:
            signals = split(np.empty(items * sum(lengths), dtype=np.int16), items, lengths)
        else:
            signals = self.slots.signals(request.slot, items)
        peaks = np.zeros(items)
        for row, index in enumerate(request.indices):
            own = [signal[row] for signal in signals[: len(self.dataset.lengths)]]
            hints = signals[-1][row].view(np.float16) if self.dataset.with_hints else np.empty(0, np.float16)
            try:
                self.dataset.read_into(index, own, hints)
            except CorpusError as exc:
                return exc
            if self.black_box is not None and self.black_box.draw(request.epoch, index - row % request.run):
                hints[:] = np.nan
            peaks[row] = max(map(_peak, own)) if self.gain is not None else 0.0
        return _Answer(request, self._gains(request, peaks), signals if self.slots is None else None)

    def _gains(self, request: _Request, peaks: NDArray[np.float64]) -> NDArray[np.float64]:
        """One gain per item, equal within a segment and small enough for all its items to stay below the ceiling."""
        firsts = request.indices[:: request.run]
        if self.gain is None:
            return np.ones(len(peaks))
        loudest = peaks.reshape(len(firsts), request.run).max(axis=1)
        drawn = [self.gain.draw(request.epoch, first, peak) for first, peak in zip(firsts, loudest, strict=True)]
        return np.repeat(drawn, request.run)


def _peak(samples: Int16Array) -> float:
    """Largest magnitude, with full scale 1; the lowest 16-bit number has no positive counterpart."""
    return max(int(samples.max()), -int(samples.min())) / FULL_SCALE


def _next(answers: Iterator[Any]) -> Any:
    try:
        return next(answers, None)
    except RuntimeError as exc:
        if "DataLoader worker" not in str(exc):
            raise
        raise TimbreRestoreError(
            f"a loader process ended unexpectedly ({exc}); if memory ran out, lower data.num_workers."
        ) from exc


def _leave_signals_to_the_run(_worker: int) -> None:
    """Use a process group of its own: a terminal signals the run's whole group, but the run should end its workers.

    If every process of a job is signalled (a cluster, `pkill -f`), the worker exits cleanly: one killed by the signal
    would make torch raise at an arbitrary point of the run, and one that ignored it would stay.
    """
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def _as_it_is(answer: Any) -> Any:
    return answer
