"""Other processes, as tests need them: run to their end or ended, whose children they are, whether they still work."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LONGEST_S = 240.0
"""So long a program of several processes may take on a busy machine; one that waits for itself takes longer."""


def ended(
    command: Sequence[str], environment: Mapping[str, str] | None = None, *, longest_s: float = LONGEST_S
) -> subprocess.CompletedProcess[str]:
    """Run a command and whatever it starts; none of them is left behind."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        said, errors = process.communicate(timeout=longest_s)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, said, errors)


def children_of(process: int) -> list[int]:
    """Numbers of the processes that this one has started and that live."""
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == process]


def lives(process: int) -> bool:
    """Whether it works; one that has ended and that nobody has asked after does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _parent(stat: Path) -> int:
    try:
        state, parent = stat.read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return 0
    return 0 if state == "Z" else int(parent)
