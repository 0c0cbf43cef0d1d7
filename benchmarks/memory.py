"""Whether preparation needs more memory the longer it runs.

    python benchmarks/memory.py SPEECH NOISE ROOMS [ITEMS]

Prepares in one process until ITEMS items (2,000 by default) are made. Prints the resident memory after every tenth of
them, then the slope of a line fitted to the second half, in megabytes per thousand items.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from timbre_restore.corpus import CorpusSpec, SourceSpec, Work, prepare
from timbre_restore.corpus.workers import Done, make_all


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def main(speech: Path, noise: Path, rooms: Path, items: int = 2000) -> None:
    made: list[tuple[int, float]] = [(0, resident_mb())]

    def watched(*arguments: object) -> object:
        total = 0
        for done in make_all(*arguments):  # type: ignore[arg-type]
            total += sum(len(marker["items"]) for _, marker in done.markers)
            if total >= made[-1][0] + items // 10:
                made.append((total, resident_mb()))
                print(f"{total:6} items: {made[-1][1]:.0f} MB", flush=True)
            yield Done(done.markers, done.spent_s)

    spec = CorpusSpec((SourceSpec(speech),), noise, rooms, passes=-(-items // 2500))
    with tempfile.TemporaryDirectory() as folder:
        prepare(spec, Path(folder) / "out", Work(num_workers=0, progress=False), execute=watched)  # type: ignore[arg-type]
    counts, sizes = np.array([entry for entry in made if entry[0] >= made[-1][0] / 2]).T
    slope = 1000 * np.polyfit(counts, sizes, 1)[0]
    print(f"{made[0][1]:.0f} MB before, {made[-1][1]:.0f} MB at the end; second half: {slope:+.1f} MB per 1000 items")


if __name__ == "__main__":
    main(*(Path(word).absolute() for word in sys.argv[1:4]), *(int(word) for word in sys.argv[4:5]))
