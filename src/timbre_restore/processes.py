"""What every worker process needs, whatever it works on."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

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


def end_with(parent: int) -> None:
    """Die when the parent does: by the kernel on Linux at once, and by looking every second anywhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
