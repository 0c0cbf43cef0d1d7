"""Preparation from file to file: this runtime against the official one, and several processes against one, in one run.

    python benchmarks/prepare.py SPEECH NOISE ROOMS [RECORDINGS] [ROUNDS]

Each round prepares the same recordings (100 by default) into a fresh folder with the graphs, in one process and in two
(and in as many as there are cores, if more), and a quarter of them with the official runtime in as many, taking turns.
Prints items per minute, for the whole command and without its start-up, ratios of medians, and where the workers' time
goes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    runtime: str
    workers: int

    @property
    def name(self) -> str:
        return f"{self.runtime:8} {self.workers} process{'es' if self.workers > 1 else ''}"


@dataclass(frozen=True)
class Result:
    items: int
    whole_s: float
    work: str

    @property
    def rate(self) -> float:
        return 60.0 * self.items / self.whole_s


def run(case: Case, folders: dict[str, Path], recordings: int, out: Path) -> Result:
    settings = {
        "data.sources": f"[{{path: {folders['speech']}}}]",
        "data.noise_path": folders["noise"],
        "data.ir_path": folders["rooms"],
        "data.output_dir": out,
        "suppressor.runtime": case.runtime,
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, str(Path(__file__).parent.parent / "data" / "prepare_dataset.py"), *words]
    command += ["--max-files", str(recordings), "--num-workers", str(case.workers)]
    started = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    seconds = time.perf_counter() - started
    items = int(re.search(r"^(\d+) items", done.stdout, re.MULTILINE)[1])  # type: ignore[index]
    work = re.search(r"where the time went: (.*)", done.stderr)
    shutil.rmtree(out)
    return Result(items, seconds, work[1] if work else "")


def main(speech: Path, noise: Path, rooms: Path, recordings: int = 100, rounds: int = 3) -> None:
    folders = {"speech": speech.absolute(), "noise": noise.absolute(), "rooms": rooms.absolute()}
    processes = sorted({1, 2, os.cpu_count() or 2})
    cases = [Case(runtime, workers) for workers in processes for runtime in ("graphs", "official")]
    results: dict[Case, list[Result]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for case in cases:
                count = recordings if case.runtime == "graphs" else max(2, recordings // 4)
                results[case].append(run(case, folders, count, Path(folder) / "out"))
                print(f"round {number + 1}: {case.name}: {results[case][-1].rate:.0f} items/min", file=sys.stderr)
        start = statistics.median(run(Case("graphs", 1), folders, 2, Path(folder) / "out").whole_s for _ in range(3))
    rates = {case: statistics.median(r.rate for r in results[case]) for case in cases}
    print(f"a command over two recordings takes {start:.1f} s: start, scan and lists are most of it")
    for case in cases:
        spread = ", ".join(f"{r.rate:.0f}" for r in results[case])
        warm = statistics.median(60.0 * r.items / max(r.whole_s - start, 1e-3) for r in results[case])
        print(f"{case.name}: {rates[case]:.0f} items/min ({spread}); without that start {warm:.0f}")
        print(f"    {results[case][-1].work}")
    for workers in processes:
        ratio = rates[Case("graphs", workers)] / rates[Case("official", workers)]
        print(f"graphs over official, {workers} process(es): {ratio:.2f}")
    for workers in processes[1:]:
        print(f"{workers} processes over one: {rates[Case('graphs', workers)] / rates[Case('graphs', 1)]:.2f}")
    print(json.dumps({case.name: round(rate) for case, rate in rates.items()}))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(*(Path(word) for word in arguments[:3]), *(int(word) for word in arguments[3:5]))
