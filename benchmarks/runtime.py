"""What a frame costs in a stream, beside DeepFilterNet3 in the same run; and a long file.

    python benchmarks/runtime.py [ROUNDS] [MINUTES]

Each generator in each size (fresh weights: cost does not depend on them), exported and then streamed hop by hop behind
a black box on one thread, in turn with DeepFilterNet3's official runtime and with the graphs hop by hop, over as many
rounds (10) of three seconds. With MINUTES, such a recording goes through the packaged voice's chain at the end:
memory before and after, and how many times faster than real time. Prints a table and JSON; milliseconds per 10 ms.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from timbre_restore.export import export_generator
from timbre_restore.models import SIZES, GeneratorSettings, make_generator
from timbre_restore.runtime import Chain, Restorer
from timbre_restore.suppressors import SuppressorSettings, load_suppressor
from timbre_restore.suppressors.df_sequence import DFN3Sequence
from timbre_restore.suppressors.dfn3 import dfn3_archive

FloatArray = NDArray[np.float32]
HOP, FRAMES, LEAD = 480, 300, 1440


def sound(frames: int, seed: int = 0) -> FloatArray:
    """Noise that swells like syllables: in silence a suppressor skips work."""
    rng, t = np.random.default_rng(seed), np.arange(frames * HOP) / 48_000
    return (0.1 * (0.2 + np.abs(np.sin(9 * t))) * rng.standard_normal(len(t))).astype(np.float32)


def timed(call: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    call(*arguments)
    return 1e3 * (time.perf_counter() - started)


def restorers(folder: Path) -> dict[str, Restorer]:
    found = {}
    for name, conditioning in (("spectral", "degraded+noisy+hints"), ("unet", "degraded+noisy")):
        for size in SIZES:
            generator = make_generator(GeneratorSettings(name, size, conditioning))
            found[f"{name} {size}"] = Restorer.load(export_generator(generator, folder / f"{name}-{size}.onnx").path)
    return found


def main(rounds: int = 10, minutes: float = 0.0) -> None:
    torch.set_num_threads(1)
    noisy = sound(FRAMES)
    degraded = (0.5 * noisy).astype(np.float32)
    costs: dict[str, list[float]] = {}
    official = load_suppressor(SuppressorSettings(runtime="official"))
    graphs = DFN3Sequence(dfn3_archive(), 100.0, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        ours = restorers(Path(folder))
        for _ in range(rounds):
            opening = timed(official, noisy[:HOP])
            per_frame = (timed(official, noisy) - opening) / (FRAMES - 1)
            costs.setdefault("DFN3 official (means of 3 s)", []).append(per_frame)
            state = graphs.begin()
            for hop in noisy.reshape(-1, 1, HOP):
                started = time.perf_counter()
                _, state = graphs.stream(hop, state)
                costs.setdefault("DFN3 graphs, hop by hop", []).append(1e3 * (time.perf_counter() - started))
            for name, restorer in ours.items():
                stream = restorer.stream(LEAD, strength=1.0)
                for at in range(0, len(noisy), HOP):
                    part = slice(at, at + HOP)
                    costs.setdefault(name, []).append(timed(stream.push, degraded[part], noisy[part]))
    table = {name: [round(float(p), 3) for p in np.percentile(values, [50, 99])] for name, values in costs.items()}
    reference = table["DFN3 official (means of 3 s)"][0]
    for name, (median, high) in table.items():
        print(f"{name:30} p50 {median:6.3f}  p99 {high:6.3f}  {median / reference:5.2f} of the official runtime")
    print(json.dumps(table))
    if minutes:
        long_file(minutes)


def long_file(minutes: float) -> None:
    """In pieces of ten seconds, as a file is read; what comes out is counted and dropped."""
    stream, piece, returned = Chain(load_suppressor(), Restorer.load()).stream(), sound(1000), 0
    pieces, started, memory = round(6 * minutes), time.perf_counter(), []
    for number in range(pieces):
        returned += len(stream.push(piece))
        if number in (pieces // 10, pieces - 1):
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    returned += len(stream.flush())
    seconds = time.perf_counter() - started
    assert returned == pieces * len(piece) + LEAD
    print(
        f"{minutes:g} minutes through the chain in {seconds:.0f} s, {60 * minutes / seconds:.0f} times real time; "
        f"memory {memory[0]:.0f} MB after a tenth, {memory[-1]:.0f} MB at the end; "
        f"{returned} samples for {pieces * len(piece)}"
    )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]), *(float(word) for word in sys.argv[2:3]))
