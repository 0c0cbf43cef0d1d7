"""Worker processes for any kind of work: how many to use, how they start, and that they end."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

ENDINGS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else ()))
"""Signals that ask a program to end: Ctrl-C, a termination request, and a closed terminal."""
SPAWN: SpawnContext = multiprocessing.get_context("spawn")
"""How workers start: no lock or thread of the parent is copied in an inconsistent state."""
_PR_SET_PDEATHSIG = 1
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""CPU quota of a container: microseconds of CPU time per period, and the period (Linux, cgroup v2)."""


def usable_cores() -> int:
    """Number of CPUs that this process may use, from its CPU affinity (on Linux) and the quota of a container."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        cores = min(cores, math.ceil(int(quota) / int(period)))  # "max" is not a number and means no limit
    return max(1, cores)


@contextmanager
def worker_pool(
    workers: int,
    begin: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
    *,
    stop: Any = None,
    ended: Exception,
) -> Iterator[ProcessPoolExecutor]:
    """Run a pool of processes that each first call `begin(*given)`, and are gone once the block ends for any reason.

    They ignore the signals that end a program, because the parent receives these too, and they end with the parent. If
    the block ends early, they are killed. If an event `stop` (of `SPAWN`) is given, it is set instead, and the pool
    waits until they have finished cleanly, unless a second Ctrl-C arrives. Raises `ended` if one of them died.
    """
    pool = ProcessPoolExecutor(workers, SPAWN, initializer=_begin, initargs=(os.getpid(), begin, given))
    finished = False
    try:
        with _born_deaf():
            for _ in range(workers):  # each call starts one worker, as long as none is idle
                pool.submit(os.getpid)
        yield pool
        finished = True
    except BrokenProcessPool as exc:
        raise ended from exc
    finally:
        # Python 3.14 added a method for this (`kill_workers`), which uses the same private attribute.
        processes = list((pool._processes or {}).values())
        if stop is not None:
            stop.set()
        try:
            if stop is None and not finished:
                _kill(processes)
            pool.shutdown(wait=True, cancel_futures=True)
        except BaseException:  # raised while waiting
            _kill(processes)
            raise


def _kill(processes: list[Any]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


@contextmanager
def _born_deaf() -> Iterator[None]:
    """Processes started in this block ignore Ctrl-C from their first instruction on, not just from the initializer."""
    if threading.current_thread() is not threading.main_thread():  # handlers can only be set in the main thread
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _begin(parent: int, begin: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    end_with(parent)
    if begin is not None:
        begin(*given)


def end_with(parent: int) -> None:
    """Die when the parent does: at once through the kernel on Linux, and by checking every second on any system."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
