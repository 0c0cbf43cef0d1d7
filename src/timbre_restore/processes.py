"""Worker processes, whatever they work on: how many, how they begin, and that they end."""

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
"""Signals that ask a program to end: by Ctrl-C, politely, and by a terminal that is closed."""
SPAWN: SpawnContext = multiprocessing.get_context("spawn")
"""How workers begin: no lock and no thread of the parent is copied half-way."""
_PR_SET_PDEATHSIG = 1
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""A container's own: microseconds of processors in a period, and the period (Linux, cgroup v2)."""


def usable_cores() -> int:
    """Processors that this process may use: by its affinity where the system has one, and by a container's quota."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        cores = min(cores, math.ceil(int(quota) / int(period)))  # "max" is no number, and no limit
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
    """Processes that each call `begin(*given)` first, and are gone when the block has ended, however it did.

    They are deaf to the signals that end a program, which the parent hears as well, and end with it. Where the block
    ends early, they are killed; with an event `stop` (of `SPAWN`) it is set instead, and waited until they have brought
    in order what they were at, unless a second Ctrl-C comes. `ended` is raised where one of them ended by itself.
    """
    pool = ProcessPoolExecutor(workers, SPAWN, initializer=_begin, initargs=(os.getpid(), begin, given))
    finished = False
    try:
        with _born_deaf():
            for _ in range(workers):  # each makes one, as long as none of them is idle
                pool.submit(os.getpid)
        yield pool
        finished = True
    except BrokenProcessPool as exc:
        raise ended from exc
    finally:
        # Python has a method for it from 3.14 on (`kill_workers`), which takes them from here, too.
        processes = list((pool._processes or {}).values())
        if stop is not None:
            stop.set()
        try:
            if stop is None and not finished:
                _kill(processes)
            pool.shutdown(wait=True, cancel_futures=True)
        except BaseException:  # while it waited
            _kill(processes)
            raise


def _kill(processes: list[Any]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


@contextmanager
def _born_deaf() -> Iterator[None]:
    """Processes that are made meanwhile ignore Ctrl-C from their first instruction on, not from the initializer on."""
    if threading.current_thread() is not threading.main_thread():  # elsewhere no signal can be set
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
    """Die when the parent does: by the kernel on Linux at once, and by looking every second anywhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
