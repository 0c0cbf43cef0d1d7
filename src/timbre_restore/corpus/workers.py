"""Takes through worker processes, or through this one.

Workers are spawned, so that no lock or thread of the parent is copied half-way. The suppressor runs one thread, and so
does everything else in a take: as many processes as cores use the cores exactly. A worker ends with its parent, however
the parent ended, or a killed run would leave writers behind its lock.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from timbre_restore.corpus.items import Maker
from timbre_restore.corpus.plan import Take
from timbre_restore.errors import CorpusError

_PR_SET_PDEATHSIG = 1
_AHEAD = 2  # takes waiting per worker: enough to keep it busy, few enough to stop at once

_maker: Maker | None = None  # one per worker process, set when it starts


def make_all(maker: Maker, takes: Iterable[tuple[int, Take]], num_workers: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, marker) of each take, in the order in which they are done."""
    if num_workers <= 1:
        for number, take in takes:
            yield number, maker.make(take)
        return
    queue = iter(takes)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, context, initializer=_start_worker, initargs=(maker, os.getpid()))
    running: dict[Future[dict[str, Any]], int] = {}
    try:
        while True:
            for number, take in islice(queue, _AHEAD * num_workers - len(running)):
                running[pool.submit(_make, take)] = number
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as exc:
        raise CorpusError(
            "a worker process ended without a word, most often for want of memory; run the same command with "
            "--skip_existing and fewer workers."
        ) from exc
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(maker: Maker, parent: int) -> None:
    global _maker
    _maker = maker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends the pool in order
    _end_with(parent)


def _make(take: Take) -> dict[str, Any]:
    assert _maker is not None
    return _maker.make(take)


def _end_with(parent: int) -> None:
    """Die when the parent does: by the kernel on Linux at once, and by looking every second anywhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
