"""`kill -9` at random moments of preparation, then the same command: does the folder equal that of a full run?

    python benchmarks/kills.py SPEECH NOISE ROOMS [KILLS] [RECORDINGS]

Prepares 16 recordings with two workers, once uninterrupted for each output format, then 20 times with a kill at a
random moment of that duration (formats in turn; every third run is killed twice). Compares every file outside `.state/`
by checksum, with the folder's name removed from the lists. Exits with 1 if any differs, a temporary file remains, or a
worker outlives its parent by more than ten seconds (one that is just starting ends once it has started).
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FORMATS = ("wav", "packed", "flac")


def command(folders: list[Path], out: Path, form: str, recordings: int) -> list[str]:
    speech, noise, rooms = folders
    settings = (
        f"data.sources=[{{path: {speech}}}]", f"data.noise_path={noise}", f"data.ir_path={rooms}",
        f"data.output_dir={out}", f"data.format={form}",
    )  # fmt: skip
    door = Path(__file__).parent.parent / "data" / "prepare_dataset.py"
    words = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, str(door), "--skip_existing", "--num_workers", "2", "--max_files", str(recordings), *words]


def contents(out: Path) -> dict[str, str]:
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and ".state" not in path.parts:
            data = path.read_bytes().replace(os.fsencode(out), b"OUT")
            found[path.relative_to(out).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


def run(words: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return time.monotonic() - started


def run_and_kill(words: list[str], after_s: float) -> bool:
    """Kill the command after `after_s`; return whether its workers were gone ten seconds later."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after_s)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = children.read_text().split() if children.is_file() else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10.0
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(Path(f"/proc/{pid}").exists() for pid in workers)


def main(folders: list[Path], kills: int = 20, recordings: int = 16) -> int:
    draw, bad = random.Random(0), 0
    with tempfile.TemporaryDirectory() as folder:
        known, lasts = {}, {}
        for form in FORMATS:
            out = Path(folder) / form
            lasts[form] = run(command(folders, out, form, recordings))
            known[form] = contents(out)
            print(f"{form}: {len(known[form])} files in {lasts[form]:.1f} s")
        for number in range(kills):
            form = FORMATS[number % len(FORMATS)]
            out = Path(folder) / "killed"
            words = command(folders, out, form, recordings)
            moments = [draw.uniform(0.0, 1.05 * lasts[form]) for _ in range(1 + (number % 3 == 2))]
            gone = [run_and_kill(words, moment) for moment in moments]
            listed = (out / "train.txt").exists()
            run(words)
            equal = contents(out) == known[form]
            torn = [path for path in out.rglob("*") if ".tmp" in path.name]
            bad += not (equal and all(gone) and not torn)
            when = " and ".join(f"{moment:.2f} s" for moment in moments)
            state = "equal" if equal else "DIFFERENT"
            workers = "gone" if all(gone) else "ALIVE"
            note = ", was listed already" if listed else ""
            print(f"{number + 1:2} {form:6} killed after {when}: {state}, {len(torn)} torn, workers {workers}{note}")
            shutil.rmtree(out)
    print(f"{kills - bad} of {kills} equal")
    return 1 if bad else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main([Path(word).absolute() for word in arguments[:3]], *(int(word) for word in arguments[3:5])))
