"""Which items form which batch: a pure function of (seed, epoch), the same for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from timbre_restore.loading.draws import draw_cut


class Batches(Protocol):
    """The batches of an epoch, in order, as lists of item indices."""

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration; random draws for items depend on it."""

    @property
    def most_items(self) -> int:
        """Maximum number of items in a batch."""

    @property
    def run(self) -> int:
        """How many consecutive items of a batch form one segment."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[list[int]]: ...


class EpochBatches:
    """The batches of one process out of `world`, reshuffled in every epoch.

    The epoch's order is cut into joined batches of `batch_size · world` segments; process `rank` takes every `world`-th
    segment of each. So the joined batches do not depend on the number of processes as long as the joined size is equal,
    and each segment is seen once per epoch. The last joined batch is short if the length is not a multiple; a process
    without a segment in it gets the joined batch's first one and must give it zero weight (`own_items` is 0 then),
    because the other processes wait for its gradient.

    A segment is one item, or `run` consecutive items of the list; the start of the first one is drawn per epoch, and
    fewer than `run` items are left out.

    A batch is identified by its number within the whole epoch, even if an iteration starts later (`set_epoch`).
    """

    def __init__(
        self, length: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1, run: int = 1, window: int = 0
    ) -> None:
        self.length = length // run
        """Segments per epoch."""
        self.most_items = batch_size * run
        self.run = run
        self.window = window
        """Length in samples of the windows that gradients stay within; 0 for the whole segment."""
        self.joined = batch_size * world
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0
        self.start_batch = 0
        self._offsets = length % run + 1
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch of the next iteration, and the batch it starts with.

        A run that stopped after `k` batches of an epoch continues with `start_batch=k` and gets exactly the rest of
        that epoch, even with another number of processes if the joined size is equal.
        """
        if not 0 <= start_batch <= len(self):
            raise ValueError(f"start_batch is {start_batch}, but the epoch has only {len(self)} batches")
        self.epoch = epoch
        self.start_batch = start_batch

    def __len__(self) -> int:
        """Batches of a full epoch."""
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
        """For each segment of this process, where to cut `length` of the `heard` samples from its `item`-th item on.

        Drawn from (seed, epoch, item).
        """
        return [draw_cut(self.seed, self.epoch, first + item, heard, length) for first in self.firsts(batch)]

    def joined_items(self, batch: int) -> int:
        """Segments of joined batch `batch` over all processes."""
        return min(self.joined, self.length - batch * self.joined)

    def own_items(self, batch: int) -> int:
        """Segments of joined batch `batch` that belong to this process; 0 if it only has a stand-in."""
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
