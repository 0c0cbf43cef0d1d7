"""Items in batches, through worker processes, with their errors intact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from timbre_restore.errors import CorpusError

Item = tuple[torch.Tensor, ...]


class _Careful(Dataset[Item | CorpusError]):
    """The items of another dataset; one that can't be read is its error, as a value.

    A worker that raises would send its traceback as text; a value comes back as what it is.
    """

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item | CorpusError:
        try:
            return self.items[index]  # type: ignore[no-any-return]
        except CorpusError as exc:
            return exc


def make_loader(items: Any, *, num_workers: int = 0, pin_memory: bool = False, **batching: Any) -> DataLoader[Any]:
    """A loader over a map-style dataset; `batching` is torch's `batch_size` or `batch_sampler`."""
    return DataLoader(
        _Careful(items),
        collate_fn=_collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
        **batching,
    )


def batches_of(loader: Iterable[Any]) -> Iterator[list[torch.Tensor]]:
    """The batches of `make_loader`'s loader; raises the `CorpusError` of an item that can't be read."""
    for batch in loader:
        if isinstance(batch, CorpusError):
            raise batch
        yield batch


def _collate(items: Sequence[Item | CorpusError]) -> Any:
    return next((item for item in items if isinstance(item, CorpusError)), None) or default_collate(list(items))
