"""Judge items in worker processes, or in this one.

Workers are spawned, and each opens the systems for itself, with one thread, so one worker per core uses all cores. They
end at once when their parent ends or on Ctrl-C; what they judged by then is kept in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed

from timbre_restore.errors import CorpusError
from timbre_restore.evaluation.items import Item
from timbre_restore.evaluation.results import ItemResult
from timbre_restore.evaluation.scoring import Desk, Judge
from timbre_restore.processes import worker_pool

_judge: Judge | None = None  # one per worker process, set when it starts


def judge_all(desk: Desk, items: Sequence[Item], jobs: int) -> Iterator[tuple[int, ItemResult]]:
    """Yield each item's number and result, in the order in which they finish."""
    if jobs <= 1 or len(items) == 1:
        judge = Judge(desk)
        for number, item in enumerate(items):
            yield number, judge(item)
        return
    ended = CorpusError(
        "a worker process ended unexpectedly, most often because memory ran out; run the same command with fewer "
        "--jobs (what was judged so far is kept)."
    )
    with worker_pool(min(jobs, len(items)), _start, (desk,), ended=ended) as pool:
        numbers = {pool.submit(_work, item): number for number, item in enumerate(items)}
        for future in as_completed(numbers):
            yield numbers[future], future.result()


def _start(desk: Desk) -> None:
    global _judge
    _judge = Judge(desk)


def _work(item: Item) -> ItemResult:
    assert _judge is not None
    return _judge(item)
