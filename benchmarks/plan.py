"""The cost of planning a corpus: time and memory of scan and plan, in a process of its own.

    python benchmarks/plan.py [RECORDINGS]

Makes a folder of RECORDINGS one-second recordings (100,000 by default, one item each), 200 noises and 50 rooms, as hard
links to a few files. Prints the seconds for scanning with headers, planning, and writing and reading the table, the
table's size, and the peak memory of the process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from timbre_restore.audio import write_audio

SPEAKERS = 500


def make_folders(root: Path, recordings: int) -> None:
    rng = np.random.default_rng(0)
    write_audio(root / "one.wav", (0.1 * rng.standard_normal(48_000)).astype(np.float32), 48_000)
    for kind, count in (("noise", 200), ("rooms", 50)):
        (root / kind).mkdir()
        for i in range(count):
            os.link(root / "one.wav", root / kind / f"{kind}_{i:04d}.wav")
    for i in range(recordings):
        speaker = root / "speech" / f"speaker_{i % SPEAKERS:04d}"
        if i < SPEAKERS:
            speaker.mkdir(parents=True)
        if i % 50_000 == 0:  # the number of links to a file is limited
            write_audio(root / f"one_{i}.wav", (0.1 * rng.standard_normal(48_000)).astype(np.float32), 48_000)
            source = root / f"one_{i}.wav"
        os.link(source, speaker / f"sentence_{i:06d}.wav")


def measure(root: Path) -> None:
    from timbre_restore.atomic import write_text
    from timbre_restore.corpus import CorpusSpec, SourceSpec
    from timbre_restore.corpus.planning.plan import make_plan, read_plan
    from timbre_restore.corpus.planning.scan import scan_files, scan_source

    source = SourceSpec(root / "speech")
    spec = CorpusSpec((source,), root / "noise", root / "rooms")
    times = [time.perf_counter()]
    found = scan_source(0, source, root / "out")
    noises, rooms = scan_files(spec.noise_path, root / "out"), scan_files(root / "rooms", root / "out")
    times.append(time.perf_counter())
    plan = make_plan(spec, found, noises, rooms)
    times.append(time.perf_counter())
    write_text(root / "plan.tsv", plan.text)
    times.append(time.perf_counter())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    items = sum(take.items_at_most(spec.segment) for take in plan.takes)
    again = read_plan(root / "plan.tsv")
    times.append(time.perf_counter())
    assert again == list(plan.takes)
    for name, start, end in zip(("scan", "plan", "write", "read"), times, times[1:], strict=False):
        print(f"{name:6} {end - start:6.1f} s")
    print(f"{items} items at most; plan.tsv {(root / 'plan.tsv').stat().st_size / 1e6:.1f} MB")
    print(f"peak memory until the table was written: {memory:.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            make_folders(Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
            subprocess.run([sys.executable, __file__, "--measure", folder], check=True)
