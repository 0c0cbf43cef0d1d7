"""DeepFilterNet3 in the official runtime, as graphs one by one, and as graphs over many recordings, on one core.

    python benchmarks/suppressor.py SPEECH NOISE [RECORDINGS] [ROUNDS]

Mixes recordings (48 by default) with noises at 5 dB. Each round runs all of them through each of the three in turn, so
that a busy machine slows all three; the longest recordings come first, as in preparation. Prints milliseconds per 10 ms
of sound as the median and range over the rounds, the ratios to the official runtime, the share of the networks alone,
and the largest differences from the official runtime, relative to full scale.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import from_db, read_mono, rms
from timbre_restore.suppressors import SuppressorSettings, load_suppressor
from timbre_restore.suppressors.df_graphs import GraphState, open_graphs
from timbre_restore.suppressors.df_lanes import LANES, STRETCH_FRAMES
from timbre_restore.suppressors.dfn3 import dfn3_archive

FloatArray = NDArray[np.float32]


def mixtures(speech: Path, noise: Path, count: int) -> list[FloatArray]:
    """Recordings spread over the folder, each with a noise at 5 dB, none above full scale, longest first."""
    voices, noises = sorted(speech.rglob("*.flac")), sorted(noise.rglob("*.flac"))
    made = []
    for i in range(count):
        voice = read_mono(voices[i * len(voices) // count])
        other = np.resize(read_mono(noises[i * len(noises) // count]), len(voice))
        noisy = voice + np.float32(rms(voice) / (rms(other) + 1e-9) * from_db(-5.0)) * other
        made.append((noisy * np.float32(0.99 / max(0.99, float(np.max(np.abs(noisy)))))).astype(np.float32))
    return sorted(made, key=len, reverse=True)


def networks_alone(frames: int) -> None:
    """Run the three networks on noise, over as many frames as the lanes process."""
    graphs, rng = open_graphs(dfn3_archive(), LANES), np.random.default_rng(0)
    erb = rng.standard_normal((LANES, STRETCH_FRAMES, 32)).astype(np.float32)
    unit = rng.standard_normal((LANES, 2, STRETCH_FRAMES, 96)).astype(np.float32)
    state = GraphState.zeros(LANES)
    for _ in range(frames // (LANES * STRETCH_FRAMES)):
        *_, state = graphs(erb, unit, state)


def main(speech: Path, noise: Path, count: int = 48, rounds: int = 3) -> None:
    noisy = mixtures(speech, noise, count)
    frames = sum(len(signal) for signal in noisy) // 480
    official, graphs = (load_suppressor(SuppressorSettings(runtime=runtime)) for runtime in ("official", "graphs"))
    ways: dict[str, Callable[[], object]] = {
        "official": lambda: [official(signal) for signal in noisy],
        "one by one": lambda: [graphs(signal) for signal in noisy],
        "many": lambda: {number: audio for number, audio, _ in graphs.many(noisy)},
        "networks": lambda: networks_alone(frames),
    }
    costs: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, object] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            results[name] = way()
            costs[name].append((time.perf_counter() - started) * 1e3 / frames)
    print(f"{count} recordings, {frames / 100:.0f} s of sound, {rounds} rounds, {LANES} lanes")
    for name, values in costs.items():
        ratios = [a / b for a, b in zip(costs["official"], values, strict=True)]
        spread = f"{min(values):.3f} to {max(values):.3f}"
        ratio = f", {statistics.median(ratios):.2f} times the official" if name in ("one by one", "many") else ""
        print(f"{name:10} {statistics.median(values):.3f} ms per 10 ms ({spread}){ratio}")
    for name in ("one by one", "many"):
        worst = max(
            float(np.max(np.abs(results[name][i] - reference)))  # type: ignore[index]
            for i, reference in enumerate(results["official"])  # type: ignore[call-overload]
        )
        print(f"largest difference of {name} from the official: {worst:.1e} of full scale")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *(int(word) for word in sys.argv[3:5]))
