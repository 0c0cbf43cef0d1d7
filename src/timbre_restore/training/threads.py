"""CPU threads of a training process."""

from __future__ import annotations

import os


def threads_of_process(threads: int) -> int:
    """This process's share of the machine's threads, at least one: processes with more than cores only wait."""
    return max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
