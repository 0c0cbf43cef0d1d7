"""Items per second that the loader can feed to training, by storage format and number of worker processes, in one run.

    python benchmarks/loading.py [ITEMS] [ROUNDS]

Makes a corpus of noise (480 items by default, 140 MB) as wav, flac and packed in a temporary folder, then runs epochs
of batches of 16 with 0 and 2 workers, taking the formats in turn. The files are in the page cache; a disk slower than
300 MB/s would be the bottleneck instead. The parent touches every batch, as a training step would. The first epoch of
each, in which the workers start, is not counted. Prints the median and range of items per second.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from timbre_restore.audio import packed_name
from timbre_restore.loading import EpochBatches, Loader, TimbreRestoreDataset

SEGMENT, LEAD, BATCH = 48_000, 1440, 16
ROLES = (("degraded", SEGMENT), ("clean", SEGMENT), ("noisy", SEGMENT + LEAD))


def make(root: Path, form: str, items: int) -> Path:
    """Noise with a falling spectrum, which flac can compress."""
    rng, lines, packed = np.random.default_rng(0), [], []
    for number in range(items):
        names = []
        for role, length in ROLES:
            samples = (3000 * np.convolve(rng.standard_normal(length + 31), np.hanning(32) / 16, "valid")).astype("<i2")
            if form == "packed":
                packed.append(samples)
                continue
            path = root / "train" / role / f"{number}.{form}"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples, 48_000)
            names.append(path)
        if form == "packed":
            at = number * (3 * SEGMENT + LEAD)
            names = [packed_name(root / "part.pcm", at), packed_name(root / "part.pcm", at + SEGMENT)]
        lines.append(f"{names[0]}|{names[1]}\n")
    if packed:
        np.concatenate(packed).tofile(root / "part.pcm")
    (root / "train.txt").write_text("".join(lines))
    return root / "train.txt"


def main(items: int = 480, rounds: int = 5) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        loaders: dict[tuple[str, int], Loader] = {}
        for form in ("wav", "flac", "packed"):
            root = Path(folder) / form
            root.mkdir()
            data = TimbreRestoreDataset(make(root, form, items), with_noisy=True, segment=SEGMENT)
            for workers in (0, 2):
                loaders[form, workers] = Loader(data, EpochBatches(items, BATCH, seed=0), num_workers=workers)
        rates: dict[tuple[str, int], list[float]] = {key: [] for key in loaders}
        for number in range(rounds + 1):
            for key, loader in loaders.items():
                loader.batches.epoch = number
                started = time.perf_counter()
                total = sum(float(signals[0][0, 0, 0]) for signals in loader)
                if number and total == total:
                    rates[key].append(items / (time.perf_counter() - started))
    print(f"{items} items of three signals, batches of {BATCH}, {rounds} rounds, files in the page cache")
    for (form, workers), values in rates.items():
        spread = f"{min(values):.0f} to {max(values):.0f}"
        print(f"{form:7} {workers} workers: {statistics.median(values):6.0f} items/s ({spread})")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
