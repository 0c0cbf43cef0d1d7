"""Lists of pairs, and one item read back. Whatever a line promises and does not hold is said with its number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from timbre_restore.audio import SAMPLE_RATE_HZ
from timbre_restore.errors import CorpusError

FloatArray = NDArray[np.float32]

NOISY_EXTRA_SAMPLES = 1440
"""How much later noisy goes on than the item: the suppressor's delay."""


@dataclass(frozen=True)
class Pair:
    """One line of a list."""

    degraded: Path
    clean: Path
    line: int
    """Counted from 1."""

    @property
    def noisy(self) -> Path:
        """The noisy item beside: the same name in the folder `noisy`."""
        return self.degraded.parent.parent / "noisy" / self.degraded.name


def read_list(path: Path | str) -> list[Pair]:
    """The pairs of a list, which may be empty. Raises `CorpusError` on a malformed line, or without the file."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not UTF-8 text"
        raise CorpusError(f"{path}: can't be read ({reason}); prepare the corpus first.") from exc
    pairs = []
    for number, line in enumerate(lines, start=1):
        degraded, bar, clean = line.partition("|")
        if not (degraded.strip() and bar and clean.strip()) or "|" in clean:
            raise CorpusError(f"{path}, line {number}: expected 'degraded_path|clean_path', got '{line[:80]}'.")
        pairs.append(Pair(Path(degraded), Path(clean), number))
    return pairs


def read_item(listed_in: Path, line: int, path: Path, samples: int) -> FloatArray:
    """One mono 48 kHz file of exactly `samples` samples, float32 `[T]`, or `CorpusError` naming list and line."""
    where = f"{listed_in}, line {line}: {path}"
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate, channels, frames = file.samplerate, file.channels, file.frames
            audio = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as exc:
        what = f"can't be read ({exc})" if path.exists() else "no such file"
        raise CorpusError(f"{where}: {what}; prepare the corpus again with --skip_existing.") from exc
    if rate != SAMPLE_RATE_HZ or channels != 1:
        raise CorpusError(f"{where}: has {channels} channels at {rate} Hz; expected 1 at {SAMPLE_RATE_HZ} Hz.")
    if frames != samples or len(audio) != samples:
        raise CorpusError(
            f"{where}: holds {len(audio)} samples, expected {samples}; prepare the corpus again with --skip_existing, "
            "or set data.segment to what it was made with."
        )
    return np.ascontiguousarray(audio[:, 0])
