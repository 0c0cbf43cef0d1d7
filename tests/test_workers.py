"""Worker processes end when they should: in order where something is to be brought in order, at once otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.processes import lives

PROGRAM = """
import os, sys, time
from pathlib import Path
from timbre_restore.apps.entry import interrupted
from timbre_restore.errors import TimbreRestoreError
from timbre_restore.processes import SPAWN, worker_pool

STOPPED_BY = sys.argv[2]

def begin(folder, stop):
    global _stop
    _stop = stop
    (folder / str(os.getpid())).touch()

def work(folder):
    (folder / f"{os.getpid()} at work").touch()
    end = time.monotonic() + 60
    while time.monotonic() < end and not (STOPPED_BY == "itself" and _stop.is_set()):
        time.sleep(0.05)
    (folder / f"{os.getpid()} in order").touch()

def main():
    folder, stop = Path(sys.argv[1]), None if STOPPED_BY == "kill" else SPAWN.Event()
    try:
        with worker_pool(2, begin, (folder, stop), stop=stop, ended=TimbreRestoreError("ended")) as pool:
            list(pool.map(work, [folder] * 3))
    except KeyboardInterrupt:
        return interrupted()

if __name__ == "__main__":
    sys.exit(main())
"""


def workers(folder: Path, ending: str = "") -> list[int]:
    return [int(place.name.split()[0]) for place in folder.iterdir() if place.name.endswith(ending)]


def started(folder: Path, stopped_by: str) -> subprocess.Popen[str]:
    """The program, with both of its workers at work."""
    program = folder.with_suffix(".py")
    program.write_text(PROGRAM, encoding="utf-8")
    folder.mkdir()
    line = [sys.executable, str(program), str(folder), stopped_by]
    process = subprocess.Popen(line, stdout=-1, stderr=-1, text=True, cwd=ROOT, start_new_session=True)
    end = time.monotonic() + 60
    while len(workers(folder, "at work")) < 2:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(("stopped_by", "presses", "in_order"), [("itself", 1, 2), ("kill", 1, 0), ("nothing", 2, 0)])
def test_ctrl_c_ends_all_of_them(tmp_path: Path, stopped_by: str, presses: int, in_order: int) -> None:
    """Once where they are asked to stop, or nothing is lost with them; twice where they don't listen."""
    folder = tmp_path / "workers"
    process = started(folder, stopped_by)
    try:
        for _ in range(presses):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.5)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, said) == (130, "interrupted; what was already written is kept.\n")
    assert len(workers(folder, "in order")) == in_order
    pids = set(workers(folder))
    assert len(pids) == 2
    assert not [pid for pid in pids if lives(int(pid))]


def test_they_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    process = started(folder, "nothing")
    process.kill()
    process.communicate()
    end = time.monotonic() + 20
    while any(lives(int(pid)) for pid in workers(folder)):
        assert time.monotonic() < end
        time.sleep(0.05)
