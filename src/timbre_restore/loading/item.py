"""One item read back. Whatever a line of a list promises and does not hold is said with its number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from timbre_restore.audio import SAMPLE_RATE_HZ
from timbre_restore.errors import CorpusError

FloatArray = NDArray[np.float32]


def read_item(listed_in: Path, line: int, path: Path, samples: int) -> FloatArray:
    """One mono 48 kHz file of exactly `samples` samples, float32 `[T]`, or `CorpusError` naming list and line."""
    where = f"{listed_in}, line {line}: {path}"
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate, channels, promised = file.samplerate, file.channels, file.frames
            audio = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as exc:
        what = f"can't be read ({exc})" if path.exists() else "no such file"
        raise CorpusError(f"{where}: {what}; prepare the corpus again with --skip_existing.") from exc
    if rate != SAMPLE_RATE_HZ or channels != 1:
        raise CorpusError(f"{where}: has {channels} channels at {rate} Hz; expected 1 at {SAMPLE_RATE_HZ} Hz.")
    if promised != samples or len(audio) != samples:
        raise CorpusError(
            f"{where}: holds {len(audio)} samples, expected {samples}; prepare the corpus again with --skip_existing, "
            "or set data.segment to what it was made with."
        )
    return np.ascontiguousarray(audio[:, 0])
