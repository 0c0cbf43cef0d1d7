"""Items through worker processes, or through this one, in their order.

Workers are spawned, and each opens the systems for itself, with one thread: as many workers as cores use the cores.
They end with their parent, however that ended; what they judged by then is kept in the cache.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from timbre_restore.errors import CorpusError
from timbre_restore.evaluation.items import Item
from timbre_restore.evaluation.results import ItemResult
from timbre_restore.evaluation.scoring import Desk, Judge
from timbre_restore.processes import end_with

_judge: Judge | None = None  # one per worker process, set when it starts


def judge_all(desk: Desk, items: Sequence[Item], jobs: int) -> Iterator[tuple[int, ItemResult]]:
    """Each item's number and result, in the order in which they are done."""
    if jobs <= 1 or len(items) == 1:
        judge = Judge(desk)
        for number, item in enumerate(items):
            yield number, judge(item)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(items)), context, initializer=_start, initargs=(desk, os.getpid()))
    try:
        numbers = {pool.submit(_work, item): number for number, item in enumerate(items)}
        for future in as_completed(numbers):
            yield numbers[future], future.result()
    except BrokenProcessPool as exc:
        raise CorpusError(
            "a worker process ended without a word, most often for want of memory; run the same command with fewer "
            "--jobs: what was judged by then is kept."
        ) from exc
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(desk: Desk, parent: int) -> None:
    global _judge
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent hears them too, and ends the pool in order
        signal.signal(number, signal.SIG_IGN)
    end_with(parent)
    _judge = Judge(desk)


def _work(item: Item) -> ItemResult:
    assert _judge is not None
    return _judge(item)
