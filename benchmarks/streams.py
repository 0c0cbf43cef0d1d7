"""Streams compared with whole signals, over minutes of sound: chunks of 1 to 100,000 samples, and interleaved streams.

    python benchmarks/streams.py FOLDER [--model ONNX] [--minutes M] [--streams N] [--each MINUTES] [--only TEXT]
                                 [--json FILE]

The recordings below FOLDER, joined together, are the noisy sound; DeepFilterNet3's graphs make the degraded one from
it. Prints the largest difference, relative to full scale, between a stream and the whole signal: through the network in
torch (untrained, gates half open) and the exported file, behind a black box; through `Chain`; and for N streams of
MINUTES that take turns on one network, each with its own chunks, every fourth with the same sound. `--only` selects the
rows with TEXT in their names. Exits with 1 if any difference is above 1e-5.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from timbre_restore.audio import AUDIO_SUFFIXES, SAMPLE_RATE_HZ, read_mono
from timbre_restore.export import export_generator
from timbre_restore.models.generator import GeneratorSettings, make_generator
from timbre_restore.runtime import Chain, Restorer
from timbre_restore.runtime.model import Model
from timbre_restore.suppressors import SuppressorSettings, load_suppressor

FloatArray = NDArray[np.float32]
LONGEST_CHUNK = 100_000
TOLERANCE = 1e-5
SOUNDS = 4


class TorchModel(Model):
    """The network itself, in place of the exported file that the runtime expects."""

    def __init__(self, generator: Any, like: Model) -> None:
        self.__dict__.update(like.__dict__)
        self._generator = generator

    def run(
        self, chunk: dict[str, FloatArray], state: dict[str, FloatArray]
    ) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        given = {name: torch.from_numpy(value) for name, value in chunk.items()}
        before = {name.removeprefix("state_"): torch.from_numpy(value) for name, value in state.items()}
        with torch.no_grad():
            out, after = self._generator.stream(given, before)
        return {k: v.numpy().copy() for k, v in out.items()}, {f"state_{k}": v.numpy() for k, v in after.items()}


def sound(folder: Path, minutes: float) -> FloatArray:
    """The recordings below a folder, joined and cut or repeated to the wanted length."""
    wanted, parts, length = round(minutes * 60 * SAMPLE_RATE_HZ), [], 0
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES):
        parts.append(read_mono(path))
        length += len(parts[-1])
        if length >= wanted:
            break
    if not parts:
        raise SystemExit(f"{folder}: holds no wav or flac file.")
    return np.resize(np.concatenate(parts), wanted).astype(np.float32)


def chunks(length: int, seed: int) -> list[int]:
    """Ends of chunks, of 1 to 100,000 samples."""
    rng, ends = np.random.default_rng(seed), [0]
    while ends[-1] < length:
        longest = int(np.exp(rng.uniform(0.0, np.log(LONGEST_CHUNK))))
        ends.append(min(length, ends[-1] + int(rng.integers(1, longest + 1))))
    return ends


def of_one(push: Callable[[int, int], FloatArray], flush: Callable[[], FloatArray], length: int) -> FloatArray:
    ends = chunks(length, 0)
    return np.concatenate([push(a, b) for a, b in pairwise(ends)] + [flush()])


def behind(restorer: Restorer, degraded: FloatArray, noisy: FloatArray) -> float:
    stream = restorer.stream(strength=1.0)
    given = of_one(lambda a, b: stream.push(degraded[a:b], noisy[a:b]), stream.flush, len(degraded))
    return float(np.abs(given - restorer(degraded, noisy, strength=1.0)).max())


def chained(chain: Chain, noisy: FloatArray) -> float:
    stream = chain.stream(1.0)
    given = of_one(lambda a, b: stream.push(noisy[a:b]), stream.flush, len(noisy))
    return float(np.abs(given[chain.delay_samples :] - chain(noisy, strength=1.0)).max())


def in_turn(restorer: Restorer, degraded: FloatArray, noisy: FloatArray, count: int, length: int) -> float:
    """The worst of many streams on one session, fed a chunk at a time in turn; compared on the fly to save memory."""
    rng = np.random.default_rng(1)
    sounds = [(np.roll(degraded, k * length // SOUNDS), np.roll(noisy, k * length // SOUNDS)) for k in range(SOUNDS)]
    parts = [(own[:length], beside[:length]) for own, beside in sounds]
    wholes = [restorer(own, beside, strength=1.0) for own, beside in parts]
    streams = [restorer.stream(strength=1.0) for _ in range(count)]
    ends = [chunks(length, seed) for seed in range(count)]
    returned, worst = [0] * count, 0.0

    def compare(which: int, given: FloatArray) -> None:
        nonlocal worst
        first = returned[which]
        returned[which] += len(given)
        if len(given):
            worst = max(worst, float(np.abs(given - wholes[which % SOUNDS][first : returned[which]]).max()))

    for turn in range(max(map(len, ends)) - 1):
        for which in rng.permutation(count).tolist():
            if turn + 1 < len(ends[which]):
                a, b = ends[which][turn : turn + 2]
                own, beside = parts[which % SOUNDS]
                compare(which, streams[which].push(own[a:b], beside[a:b]))
    for which, stream in enumerate(streams):
        compare(which, stream.flush())
    return worst if returned == [length] * count else float("nan")


def both_ways(name: str, conditioning: str, folder: Path) -> dict[str, Restorer]:
    """An untrained generator, gates half open: the network itself, and the file that it is exported to."""
    torch.manual_seed(0)
    generator: Any = make_generator(GeneratorSettings(name, "small", conditioning)).eval()
    generator.requires_grad_(False)
    head = generator.heads if name == "spectral" else generator.heads[-1]
    torch.nn.init.normal_(head.weight, std=0.05)
    torch.nn.init.zeros_(head.bias)
    exported = Restorer.load(export_generator(generator, folder / f"{name}.onnx").path)
    return {"torch": Restorer(TorchModel(generator, exported.model)), "ONNX": exported}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help="exported file (default: the packaged voice)")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--each", type=float, default=1.0, metavar="MINUTES")
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    noisy = sound(options.folder, options.minutes)
    suppressor = load_suppressor(SuppressorSettings(runtime="graphs"))
    degraded = suppressor(noisy)
    length = round(options.each * 60 * SAMPLE_RATE_HZ)
    turns = f"{options.streams} streams in turn"
    rows: list[tuple[str, Callable[[], float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, conditioning in (("spectral", "degraded+noisy+hints"), ("unet", "degraded+noisy")):
            for way, restorer in both_ways(name, conditioning, Path(folder)).items():
                rows.append((f"{name}, {way}", partial(behind, restorer, degraded, noisy)))
                if name == "spectral":
                    every = partial(in_turn, restorer, degraded, noisy, options.streams, length)
                    rows.append((f"{name}, {way}, {turns}", every))
        voice = Restorer.load(options.model)
        rows.append(("voice, behind a black box", partial(behind, voice, degraded, noisy)))
        rows.append(("voice, Chain", partial(chained, Chain(suppressor, voice), noisy)))
        rows.append((f"voice, {turns}", partial(in_turn, voice, degraded, noisy, options.streams, length)))
    report: dict[str, float] = {}
    for way, measure in rows:
        if options.only in way:
            started = time.perf_counter()
            report[way] = measure()
            print(f"{way:40} {report[way]:9.2e}   ({time.perf_counter() - started:.0f} s)", flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return int(not all(value <= TOLERANCE for value in report.values()))  # false for NaN, too


if __name__ == "__main__":
    raise SystemExit(main())
