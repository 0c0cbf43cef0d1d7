"""A list of pairs as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import Dataset

from timbre_restore.audio import SAMPLE_RATE_HZ, read_audio
from timbre_restore.errors import AudioFileError, CorpusError

LOOKAHEAD_SAMPLES = 1440


@dataclass(frozen=True)
class Pair:
    """One line of a list: 'degraded|clean', and where it stands."""

    degraded: Path
    clean: Path
    where: str

    @property
    def noisy(self) -> Path:
        """The noisy side lies beside the degraded one, under the same name."""
        return self.degraded.parent.parent / "noisy" / self.degraded.name


def read_list(path: Path | str) -> list[Pair]:
    """The pairs of a list; an empty list is a valid answer. Raises `CorpusError` naming the line that is none."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise CorpusError(f"{path}: the list can't be read ({exc}); make it with 'timbre-restore prepare'.") from exc
    pairs = []
    for number, line in enumerate(lines, start=1):
        degraded, separator, clean = line.partition("|")
        if not separator or not degraded or not clean or "|" in clean:
            raise CorpusError(f"{path}: line {number}: expected 'degraded_path|clean_path', got {line!r}.")
        pairs.append(Pair(Path(degraded), Path(clean), f"{path}: line {number}"))
    return pairs


class TimbreRestoreDataset(Dataset[tuple[torch.Tensor, ...]]):
    """Pairs of a list: `(degraded, clean)`, float32 `[1, segment]` each, 48 kHz, full scale ±1.

    `with_noisy` adds a third tensor, the noisy signal `[1, segment + 1440]`: the same instants and the 30 ms after
    them. Raises `CorpusError` for an empty list, and when an item is read for a file that is missing, too short or of
    another rate; the message names the list's line.
    """

    def __init__(self, list_path: Path | str, *, with_noisy: bool = False, segment: int = 48_000) -> None:
        self.pairs = read_list(list_path)
        self.with_noisy = with_noisy
        self.segment = segment
        if not self.pairs:
            raise CorpusError(f"{list_path}: the list is empty; prepare more recordings.")

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        pair = self.pairs[index]
        signals = [self._read(pair, pair.degraded, 0), self._read(pair, pair.clean, 0)]
        if self.with_noisy:
            signals.append(self._read(pair, pair.noisy, LOOKAHEAD_SAMPLES))
        return tuple(signals)

    def _read(self, pair: Pair, path: Path, more: int) -> torch.Tensor:
        expected = self.segment + more
        try:
            samples, rate = read_audio(path, frames=expected)
        except AudioFileError as exc:
            raise CorpusError(f"{pair.where}: {exc}") from exc
        if rate != SAMPLE_RATE_HZ:
            raise CorpusError(f"{pair.where}: {path} has {rate} Hz, expected {SAMPLE_RATE_HZ}; prepare it again.")
        if samples.shape[1] < expected:
            raise CorpusError(
                f"{pair.where}: {path} has {samples.shape[1]} samples, expected {expected}; prepare it again."
            )
        return torch.from_numpy(samples[:1])
