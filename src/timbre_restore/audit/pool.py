"""Inspecting all items in worker processes or in this one; results are in order and the same either way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import FloatArray, Pair
from timbre_restore.audit.item import ITEM, Fault, Look, Seen, look_at
from timbre_restore.errors import CorpusError
from timbre_restore.processes import worker_pool

CHUNK = 32  # items per message: enough to make messages cheap, few enough for a moving progress bar
Progress = Callable[[int, int, object], None]
"""Called with (done, total, name of the current item)."""


def look_at_all(pairs: list[Pair], hinted: list[bool], look: Look, num_workers: int, progress: Progress) -> Seen:
    """Inspect every item; about 250 bytes per item are kept."""
    facts: list[NDArray[Any]] = [np.zeros(0, dtype=ITEM)]
    faults: list[Fault] = []
    spectra: dict[int, FloatArray] = {}
    done = 0
    for seen in _chunks(pairs, hinted, look, min(num_workers, -(-len(pairs) // CHUNK))):
        facts.append(seen.facts)
        faults += seen.faults
        spectra |= seen.spectra
        done += len(seen.facts)
        progress(done, len(pairs), "")
    return Seen(np.concatenate(facts), faults, spectra)


def _chunks(pairs: list[Pair], hinted: list[bool], look: Look, num_workers: int) -> Iterator[Seen]:
    starts = range(0, len(pairs), CHUNK)
    if num_workers <= 1:
        for start in starts:
            yield look_at(start, pairs[start : start + CHUNK], hinted[start : start + CHUNK], look)
        return
    ended = CorpusError(
        "a worker process ended unexpectedly, most often because memory ran out; run it again with fewer workers."
    )
    with worker_pool(num_workers, ended=ended) as pool:
        parts, flags = ([of[start : start + CHUNK] for start in starts] for of in (pairs, hinted))
        yield from pool.map(look_at, starts, parts, flags, [look] * len(starts))
