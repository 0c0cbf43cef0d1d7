"""Pairs as torch tensors."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.data import Dataset

from timbre_restore.audio import read_list
from timbre_restore.errors import CorpusError
from timbre_restore.loading.item import read_item
from timbre_restore.suppressors import DFN3_LATENCY_SAMPLES


class TimbreRestoreDataset(Dataset[tuple[torch.Tensor, ...]]):
    """Items of a list: `(degraded, clean)`, float32 `[1, segment]` each, full scale ±1.

    With `with_noisy` a third tensor `[1, segment + 1440]`: what the suppressor heard, going on for as long as the
    suppressor delays. Raises `CorpusError` that names list and line for whatever is missing, short or of another rate.
    """

    def __init__(self, list_path: Path | str, *, with_noisy: bool = False, segment: int = 48_000) -> None:
        self.list_path = Path(list_path)
        self.with_noisy = with_noisy
        self.segment = segment
        self.pairs = read_list(self.list_path)
        if not self.pairs:
            raise CorpusError(f"{self.list_path}: lists no pair; prepare a corpus that holds some.")

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        pair = self.pairs[index]
        wanted = [(pair.degraded, self.segment), (pair.clean, self.segment)]
        if self.with_noisy:
            wanted.append((pair.noisy, self.segment + DFN3_LATENCY_SAMPLES))
        return tuple(
            torch.from_numpy(read_item(self.list_path, pair.line, path, samples)).unsqueeze(0)
            for path, samples in wanted
        )
