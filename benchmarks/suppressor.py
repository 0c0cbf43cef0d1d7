"""DeepFilterNet3 as the official runtime and as graphs over whole stretches, in one run on one core.

    python benchmarks/suppressor.py SPEECH_FOLDER NOISE_FOLDER

Prints, per recording mixed at 5 dB, the cost of 10 ms of sound, the ratio, the share of the three networks, and the
largest difference in full scale. Recordings alternate between the two, so that a busy machine slows both.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from timbre_restore.audio import read_mono
from timbre_restore.suppressors import SuppressorSettings, load_suppressor
from timbre_restore.suppressors.df_graphs import Graphs


class _Timed:
    """Adds up the time inside the networks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        original = Graphs.__call__

        def call(graphs: Graphs, *args: object) -> object:
            start = time.perf_counter()
            try:
                return original(graphs, *args)  # type: ignore[arg-type]
            finally:
                self.seconds += time.perf_counter() - start

        Graphs.__call__ = call  # type: ignore[assignment,method-assign]


def main(speech: Path, noise: Path, count: int = 24) -> None:
    inside = _Timed()
    voices, noises = sorted(speech.rglob("*.flac")), sorted(noise.rglob("*.flac"))
    official, graphs = (load_suppressor(SuppressorSettings(runtime=runtime)) for runtime in ("official", "graphs"))
    costs: dict[str, list[float]] = {"official": [], "graphs": [], "networks": []}
    worst = 0.0
    for i in range(count):
        voice = read_mono(voices[i * len(voices) // count])
        other = np.resize(read_mono(noises[i * len(noises) // count]), len(voice))
        level = np.sqrt(np.mean(voice**2) / (np.mean(other**2) + 1e-12)) * 10 ** (-5 / 20)
        noisy = (voice + level * other).astype(np.float32)
        noisy *= np.float32(0.99 / max(0.99, float(np.max(np.abs(noisy)))))
        hops = len(noisy) / 480
        a = time.perf_counter()
        reference = official(noisy)
        b = time.perf_counter()
        before = inside.seconds
        ours = graphs(noisy)
        c = time.perf_counter()
        costs["official"].append((b - a) * 1e3 / hops)
        costs["graphs"].append((c - b) * 1e3 / hops)
        costs["networks"].append((inside.seconds - before) * 1e3 / hops)
        worst = max(worst, float(np.max(np.abs(ours - reference))))
    ratios = [a / b for a, b in zip(costs["official"], costs["graphs"], strict=True)]
    for name, values in costs.items():
        print(f"{name:9} {statistics.median(values):.3f} ms per 10 ms (median of {count})")
    print(f"ratio     {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
    print(f"largest difference {worst:.1e} of full scale")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
