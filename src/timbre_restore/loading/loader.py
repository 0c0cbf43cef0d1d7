"""Batches of items, read by worker processes, with their errors intact.

A worker reads files straight into memory that it shares with this process and sends a note of a few bytes when a batch
is whole; this process makes float32 of it in one pass, which also frees the memory for a later batch.
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
"""Batches per worker that are read ahead."""


@dataclass(frozen=True)
class _Request:
    """A batch to read, and where to put it; `run` items at a time share their draws."""

    epoch: int
    indices: list[int]
    run: int
    slot: int


@dataclass(frozen=True)
class _Answer:
    """A batch that was read. `signals` is None when they lie in the slot."""

    request: _Request
    gains: NDArray[np.float64]
    signals: list[Int16Array] | None
    """And, last, the hints as the same 16 bits, where the dataset gives them."""


class Loader:
    """The batches of an epoch: a list of float32 tensors `[B, 1, T]` on `device`, one per signal of the dataset.

    Hints are the last one, `[B, N, 225]`, where the dataset gives them. Items that make one segment (`Batches.run`)
    come joined, and share their draws. Each is the same, bit for bit, for any number of workers, which live as long as
    the loader. `gain` draws one gain for all signals of an item, and for the low bins
    of its hints; None leaves them as stored. `black_box` withholds the hints of some items. Raises the `CorpusError` of
    an item that can't be read. Only one iteration may go on at a time.
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
            # One more than can be asked for: this one is being converted when the next is asked for.
            slots = Slots(num_workers * prefetched + 1, batches.most_items, stored_lengths(dataset))
        self._slots = slots
        self._with_hints = dataset.with_hints
        self._answers: DataLoader[Any] = DataLoader(
            _Reader(dataset, slots, gain, black_box),
            sampler=_Requests(batches, slots.count if slots else 1),
            batch_size=None,  # a request is a batch already
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=_leave_signals_to_the_run if num_workers else None,
            prefetch_factor=prefetched if num_workers else None,
            multiprocessing_context=method if num_workers else None,
            generator=torch.Generator(),  # torch draws a seed per epoch; not from the stream that training draws from
        )

    def __len__(self) -> int:
        """Batches of a whole epoch."""
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
    """16-bit values of each part of an item, hints last where there are any."""
    return (*dataset.lengths, *([dataset.hint_values] if dataset.with_hints else []))


class _Requests:
    """The batches as requests; slots in turn, so that one is asked for again when what it held has been taken."""

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
    """Reads whole batches. One that can't be read is its error, as a value: a worker that raises sends only text."""

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
        """One per item, the same within a segment, none of whose items gets past the ceiling."""
        firsts = request.indices[:: request.run]
        if self.gain is None:
            return np.ones(len(peaks))
        loudest = peaks.reshape(len(firsts), request.run).max(axis=1)
        drawn = [self.gain.draw(request.epoch, first, peak) for first, peak in zip(firsts, loudest, strict=True)]
        return np.repeat(drawn, request.run)


def _peak(samples: Int16Array) -> float:
    """Largest magnitude, of full scale 1; the lowest 16-bit number has no positive counterpart."""
    return max(int(samples.max()), -int(samples.min())) / FULL_SCALE


def _next(answers: Iterator[Any]) -> Any:
    try:
        return next(answers, None)
    except RuntimeError as exc:
        if "DataLoader worker" not in str(exc):
            raise
        raise TimbreRestoreError(
            f"a process that reads items has ended ({exc}); if the machine is short of memory, lower data.num_workers."
        ) from exc


def _leave_signals_to_the_run(_worker: int) -> None:
    """A group of its own: a terminal sends what ends a run to the run's whole group, and the run ends its workers.

    Who ends every process of a job (a cluster, `pkill -f`) gets a worker that leaves: one that dies of the signal would
    make torch raise in the run wherever that stands, and one that ignores it would stay.
    """
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def _as_it_is(answer: Any) -> Any:
    return answer
