"""Which items make which batch: a pure function of (seed, epoch), the same for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class EpochBatches:
    """Batches of indices for one process of several; give it to a `DataLoader` as `batch_sampler`.

    The epoch's order is cut into joined batches of `batch_size · world` items; process `rank` takes every `world`-th
    item of each. So the joined batches do not depend on the number of processes as long as the joined size is equal,
    and each item is seen once per epoch. The last joined batch is short where the length does not divide; a process
    without an item in it gets the joined batch's first one and must give it no weight (`own_items` is 0 then), because
    the others wait for its gradient.
    """

    def __init__(self, length: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1) -> None:
        self.length = length
        self.joined = batch_size * world
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.joined)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        for start in range(0, self.length, self.joined):
            joined = order[start : start + self.joined]
            own = joined[self.rank :: self.world]
            yield (own if len(own) else joined[:1]).tolist()

    def joined_items(self, batch: int) -> int:
        """Items of joined batch `batch` over all processes."""
        return min(self.joined, self.length - batch * self.joined)

    def own_items(self, batch: int) -> int:
        """Items of joined batch `batch` that belong to this process; 0 when it only holds a stand-in."""
        return max(0, -(-(self.joined_items(batch) - self.rank) // self.world))
