"""Which items make which batch: a pure function of (seed, epoch), the same for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from timbre_restore.loading.draws import draw_cut


class Batches(Protocol):
    """The order of an epoch, as lists of indices."""

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration is of; draws of items follow it."""

    @property
    def most_items(self) -> int:
        """No batch has more."""

    @property
    def run(self) -> int:
        """So many items of a batch, one after another, make one segment."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[list[int]]: ...


class EpochBatches:
    """Batches of one process of several, shuffled anew in every epoch.

    The epoch's order is cut into joined batches of `batch_size · world` segments; process `rank` takes every `world`-th
    of each. So the joined batches do not depend on the number of processes as long as the joined size is equal, and
    each segment is seen once per epoch. The last joined batch is short where the length does not divide; a process
    without a segment in it gets the joined batch's first one and must give it no weight (`own_items` is 0 then),
    because the others wait for its gradient.

    A segment is an item, or `run` items that follow one another in the list; where those begin is drawn per epoch, and
    fewer than `run` items are left out of it.

    A batch is known by its number within the whole epoch, also where an iteration begins later (`set_epoch`).
    """

    def __init__(
        self, length: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1, run: int = 1, window: int = 0
    ) -> None:
        self.length = length // run
        """Segments of an epoch."""
        self.most_items = batch_size * run
        self.run = run
        self.window = window
        """Samples of a segment that gradients stay in; 0 for all of it."""
        self.joined = batch_size * world
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0
        self.start_batch = 0
        self._offsets = length % run + 1
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch, and the first of its batches, that the next iteration gives.

        A run that stopped after `k` batches of an epoch goes on with `start_batch=k`: what follows is exactly the rest
        of that epoch, also for another number of processes, if the joined size is equal.
        """
        if not 0 <= start_batch <= len(self):
            raise ValueError(f"start_batch is {start_batch} and the epoch has {len(self)} batches")
        self.epoch = epoch
        self.start_batch = start_batch

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return -(-self.length // self.joined)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.start_batch, len(self)):
            yield [first + k for first in self.firsts(batch) for k in range(self.run)]

    def firsts(self, batch: int) -> list[int]:
        """The first item of each segment of this process in joined batch `batch`."""
        if self._order is None or self._order[0] != self.epoch:
            rng = np.random.default_rng([self.seed, self.epoch])
            order = rng.permutation(self.length) * self.run
            self._order = self.epoch, order + (int(rng.integers(self._offsets)) if self._offsets > 1 else 0)
        joined = self._order[1][batch * self.joined : (batch + 1) * self.joined]
        own = joined[self.rank :: self.world]
        chosen: list[int] = (own if len(own) else joined[:1]).tolist()
        return chosen

    def cuts(self, batch: int, heard: int, length: int, *, item: int = 0) -> list[int]:
        """Where to cut `length` of `heard` samples of each segment of this process, that begin with its `item`-th item.

        Drawn by (seed, epoch, item).
        """
        return [draw_cut(self.seed, self.epoch, first + item, heard, length) for first in self.firsts(batch)]

    def joined_items(self, batch: int) -> int:
        """Segments of joined batch `batch` over all processes."""
        return min(self.joined, self.length - batch * self.joined)

    def own_items(self, batch: int) -> int:
        """Segments of joined batch `batch` that belong to this process; 0 when it only holds a stand-in."""
        return max(0, -(-(self.joined_items(batch) - self.rank) // self.world))


class FixedBatches:
    """The same items in the same order each time."""

    epoch = 0
    run = 1

    def __init__(self, indices: Sequence[int], batch_size: int) -> None:
        self.indices = list(indices)
        self.most_items = batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.most_items)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.indices), self.most_items):
            yield self.indices[start : start + self.most_items]
