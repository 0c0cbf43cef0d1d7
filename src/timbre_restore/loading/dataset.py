"""Pairs as torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from timbre_restore.audio import (
    FULL_SCALE,
    HINT_VALUES,
    HOP_SAMPLES,
    LEAD_SAMPLES,
    read_hints_into,
    read_list,
    read_stored_into,
)
from timbre_restore.errors import AudioFileError, CorpusError


class TimbreRestoreDataset(Dataset[tuple[torch.Tensor, ...]]):
    """Items of a list as stored: `(degraded, clean)`, float32 `[1, segment]` each, full scale ±1.

    With `with_noisy`, there is a third tensor `[1, segment + 1440]`: the suppressor's input, longer by the suppressor's
    delay. With `with_hints`, there is a last tensor `[segment / 480, 225]`: the suppressor's hints for each hop
    (`audio.HINT_VALUES`), NaN where it provides none. Lines name wav or flac files, or places in packed files, in any
    mix. Raises `CorpusError` that names list and line for files that are missing, too short, or of the wrong rate,
    length or sample format.
    """

    def __init__(
        self, list_path: Path | str, *, with_noisy: bool = False, with_hints: bool = False, segment: int = 48_000
    ) -> None:
        self.list_path = Path(list_path)
        self.with_noisy = with_noisy
        self.with_hints = with_hints
        self.segment = segment
        self.pairs = read_list(self.list_path)
        if not self.pairs:
            raise CorpusError(f"{self.list_path}: lists no pairs; prepare a corpus that is not empty.")

    @property
    def lengths(self) -> tuple[int, ...]:
        """Samples of each signal of an item."""
        noisy = (self.segment + LEAD_SAMPLES,) if self.with_noisy else ()
        return (self.segment, self.segment, *noisy)

    @property
    def hint_values(self) -> int:
        """Number of 16-bit values in an item's hints; 0 without hints."""
        return self.segment // HOP_SAMPLES * HINT_VALUES if self.with_hints else 0

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        signals = [np.empty(length, dtype=np.int16) for length in self.lengths]
        hints = np.empty(self.hint_values, dtype=np.float16)
        self.read_into(index, signals, hints)
        waves = [torch.from_numpy(signal).unsqueeze(0) * (1.0 / FULL_SCALE) for signal in signals]
        known = [torch.from_numpy(hints.astype(np.float32)).reshape(-1, HINT_VALUES)] if self.with_hints else []
        return (*waves, *known)

    def read_into(self, index: int, signals: Sequence[NDArray[np.int16]], hints: NDArray[np.float16]) -> None:
        """Fill one contiguous `[T]` per signal with the stored samples; full scale is 32768.

        `hints` `[hint_values]` is filled too; it is empty without hints.
        """
        pair = self.pairs[index]
        try:
            if pair.samples not in (None, self.segment):
                raise AudioFileError(f"{pair.degraded}: holds {pair.samples} samples, expected {self.segment}")
            paths = (pair.degraded, pair.clean, pair.noisy) if self.with_noisy else (pair.degraded, pair.clean)
            for path, signal in zip(paths, signals, strict=True):
                read_stored_into(path, signal)
            if self.with_hints:
                read_hints_into(pair.hints, hints.reshape(-1, HINT_VALUES))
        except AudioFileError as exc:
            raise CorpusError(
                f"{self.list_path}, line {pair.line}: {str(exc).removesuffix('.')}; prepare the corpus again with "
                "--skip_existing and the data.segment used here."
            ) from exc
