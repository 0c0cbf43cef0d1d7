"""Making takes in worker processes, or in this one.

Workers are spawned, so that no lock or thread of the parent is copied in an inconsistent state. The suppressor and
everything else in a take run on one thread, so one process per core uses the cores exactly. A worker ends with its
parent, however the parent ended; otherwise a killed run would leave processes writing without its lock. When the parent
is interrupted, the workers stop after the current take.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

from timbre_restore.corpus.planning.plan import Take
from timbre_restore.corpus.writing.items import Maker, Marker
from timbre_restore.errors import CorpusError
from timbre_restore.processes import SPAWN, worker_pool

_AHEAD = 2  # chunks queued per worker: enough to keep it busy, few enough to stop quickly
LARGEST_CHUNK = 32  # takes: enough for a suppressor that processes several at once, and a few seconds of work
CHUNKS_PER_WORKER = 4  # at least, so that the others don't wait for one worker's last long chunk

_maker: Maker | None = None  # one per worker process, set when it starts
_stop: Any = None
_idle_since = 0.0

Numbered = tuple[int, Take]


@dataclass(frozen=True)
class Done:
    """A finished chunk: (number, marker) of each take, and the seconds spent per kind of work."""

    markers: list[tuple[int, Marker]]
    spent_s: dict[str, float]


def make_all(maker: Maker, takes: Sequence[Numbered], num_workers: int) -> Iterator[Done]:
    """All takes, in order of completion; 0 workers runs them in this process."""
    num_workers = min(num_workers, len(takes))
    chunks = chunked(takes, max(1, num_workers))
    if num_workers <= 1:
        for chunk in chunks:
            yield from _made(maker, chunk)
        return
    stop = SPAWN.Event()
    ended = CorpusError(
        "a worker process ended unexpectedly, most often because memory ran out; run the same command with "
        "--skip_existing and fewer workers."
    )
    with worker_pool(num_workers, _start_worker, (maker, stop), stop=stop, ended=ended) as pool:
        yield from _through(pool, chunks, _AHEAD * num_workers)


def chunked(takes: Sequence[Numbered], workers: int) -> Iterable[Sequence[Numbered]]:
    """Takes in chunks, in order: as large as is useful, but small enough that every worker gets several."""
    size = max(1, min(LARGEST_CHUNK, len(takes) // (workers * CHUNKS_PER_WORKER)))
    return [takes[start : start + size] for start in range(0, len(takes), size)]


def make_chunk(maker: Maker, chunk: Sequence[Numbered], stopped: Callable[[], bool] = lambda: False) -> Done:
    """Make takes in this process until `stopped` returns True."""
    markers: list[tuple[int, Marker]] = []
    spent_s: Counter[str] = Counter()
    for done in _made(maker, chunk):
        markers += done.markers
        spent_s.update(done.spent_s)
        if stopped():
            break
    return Done(markers, dict(spent_s))


def _made(maker: Maker, chunk: Sequence[Numbered]) -> Iterator[Done]:
    numbers = {take.id: number for number, take in chunk}
    before = dict(maker.spent_s)
    for take, marker in maker.make([take for _, take in chunk]):
        now = dict(maker.spent_s)
        yield Done([(numbers[take.id], marker)], {kind: now[kind] - before[kind] for kind in now})
        before = now


def _through(pool: ProcessPoolExecutor, chunks: Iterable[Sequence[Numbered]], ahead: int) -> Iterator[Done]:
    queue, running = iter(chunks), set[Future[Done]]()
    while True:
        running |= {pool.submit(_make, chunk) for chunk in islice(queue, ahead - len(running))}
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


def _start_worker(maker: Maker, stop: Any) -> None:
    global _maker, _stop, _idle_since
    _maker, _stop, _idle_since = maker, stop, time.perf_counter()


def _make(chunk: Sequence[Numbered]) -> Done:
    global _idle_since
    assert _maker is not None
    waited = time.perf_counter() - _idle_since
    done = make_chunk(_maker, chunk, _stop.is_set)
    _idle_since = time.perf_counter()
    return Done(done.markers, {**done.spent_s, "wait": waited})
