"""The cost of the runtime: a hop of every generator next to DeepFilterNet3, a file on the command line, an hour.

    python benchmarks/runtime.py [--rounds N] [--seconds S] [--model ONNX] [--hour [MINUTES]] [--json FILE]

Hops go one by one, on one thread, through generators with the default conditioning and untrained weights, on which the
cost does not depend. `graph` is the exported graph with its states passed along; a bare name is the streaming API
behind a black box, including transforms and checks; `chain` is suppressor plus restorer. All variants take turns in
every round, so that a busy machine slows all of them alike. The official runtime opens its model for each signal, so it
is timed over a longer signal, minus an almost empty one, and its percentiles are over rounds. `--model` adds start-up
and peak memory of `timbre-restore restore`, `--hour` a long sound through `Chain` in pushes of five seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, SAMPLE_RATE_HZ, write_audio
from timbre_restore.runtime import Chain, Restorer
from timbre_restore.runtime.checks.memory import resident_mb
from timbre_restore.runtime.checks.sounds import voiced
from timbre_restore.suppressors import SuppressorSettings, load_suppressor

FloatArray = NDArray[np.float32]
Push = Callable[[FloatArray], Any]
GENERATORS = tuple((name, size) for name in ("spectral", "unet") for size in ("tiny", "small", "base"))
CONDITIONING = {"spectral": "degraded+noisy+hints", "unet": "degraded+noisy"}
PUSH_S = 5.0
RESTORE = """
import re, sys
from pathlib import Path
from timbre_restore.apps.cli import main
code = main(sys.argv[2:])
Path(sys.argv[1]).write_text(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


def exported(folder: Path) -> dict[str, Path]:
    """A file per generator and size."""
    import torch

    from timbre_restore.export import export_generator
    from timbre_restore.models.generator import GeneratorSettings, make_generator

    torch.manual_seed(0)
    made = {}
    for name, size in GENERATORS:
        generator = make_generator(GeneratorSettings(name, size, CONDITIONING[name]))
        generator.eval().requires_grad_(False)
        made[f"{name} {size}"] = export_generator(generator, folder / f"{name}-{size}.onnx").path
    return made


def milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000.0 * (time.perf_counter() - started)


def graph_alone(path: Path) -> Push:
    """The exported graph, fed with the same hop each time."""
    model = Restorer.load(path).model
    state = model.initial_state()
    rng = np.random.default_rng(0)
    chunk = {
        given.name: 0.001 * rng.standard_normal([1 if isinstance(n, str) else n for n in given.shape], np.float32)
        for given in model.session.get_inputs()
        if not given.name.startswith("state_")
    }
    if model.domain == "waveform":
        lengths = {"degraded": HOP_SAMPLES, "noisy": HOP_SAMPLES + model.lookahead_samples}
        chunk = {name: 0.1 * rng.standard_normal((1, 1, lengths[name]), np.float32) for name in chunk}

    def push(hop: FloatArray) -> None:
        nonlocal state
        _, state = model.run(chunk, state)

    return push


def behind(path: Path) -> Push:
    """A restorer's stream behind a black box, with noisy as early as its lookahead needs."""
    restorer = Restorer.load(path)
    stream = restorer.stream(restorer.lookahead_samples, 1.0)
    return lambda hop: stream.push(np.float32(0.5) * hop, hop)


def suppressing() -> Push:
    """DeepFilterNet3 from the graphs, one hop at a time."""
    frames = load_suppressor(SuppressorSettings(runtime="graphs")).frames  # type: ignore[attr-defined]
    state = frames.begin()

    def push(hop: FloatArray) -> None:
        nonlocal state
        _, state = frames.stream(hop[None], state)

    return push


def costs(paths: dict[str, Path], rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """p50 and p99 milliseconds per 10 ms, with all variants taking turns."""
    noisy = voiced(seconds)
    hops = noisy.reshape(-1, HOP_SAMPLES)
    official, graphs = (load_suppressor(SuppressorSettings(runtime=runtime)) for runtime in ("official", "graphs"))
    ways: dict[str, Push] = {"dfn3 graphs": suppressing()}
    for name, path in paths.items():
        ways[f"graph, {name}"] = graph_alone(path)
        ways[name] = behind(path)
    for name, path in paths.items():
        ways[f"chain, {name}"] = Chain(graphs, Restorer.load(path)).stream(1.0).push
    spent: dict[str, list[float]] = {"dfn3 official": [], **{name: [] for name in ways}}
    for turn in range(rounds + 1):
        opening = milliseconds(lambda: official(noisy[:HOP_SAMPLES]))
        whole = (milliseconds(lambda: official(noisy)) - opening) / (len(hops) - 1)
        measured = {"dfn3 official": [whole]}
        for name, push in ways.items():
            measured[name] = [milliseconds(lambda push=push, hop=hop: push(hop)) for hop in hops]  # type: ignore[misc]
        if turn:  # the first one warms up
            for name, values in measured.items():
                spent[name] += values
    return {
        name: {"p50_ms": float(np.median(v)), "p99_ms": float(np.percentile(v, 99)), "samples": float(len(v))}
        for name, v in spent.items()
    }


def from_the_command_line(model: Path, folder: Path) -> dict[str, float]:
    """Wall time and peak memory of `timbre-restore restore` on a tenth of a second (start-up) and on a minute."""
    figures = {}
    for name, seconds in (("start", 0.1), ("minute", 60.0)):
        source = folder / f"{name}.wav"
        write_audio(source, voiced(seconds), SAMPLE_RATE_HZ)
        # The program's own high-water mark; what wait4 reports for a child starts from its parent's.
        peak, out = folder / "peak", folder / f"{name}-out.wav"
        line = [sys.executable, "-c", RESTORE, str(peak), "restore", str(source), "-o", str(out)]
        started = time.perf_counter()
        subprocess.run([*line, "--model", str(model)], stdout=subprocess.DEVNULL, check=True)
        figures[f"{name}_s"] = time.perf_counter() - started
        figures[f"{name}_peak_mb"] = int(peak.read_text()) * 1024 / 1e6
    return figures


def a_long_sound(path: Path, minutes: float) -> dict[str, float]:
    """Through `Chain` in pushes: how memory stands after a tenth and at the end, what is missing, times real time."""
    stream = Chain(load_suppressor(SuppressorSettings()), Restorer.load(path)).stream(1.0)
    pushes = max(round(minutes * 60 / PUSH_S), 10)
    parts = [voiced(PUSH_S, seed) for seed in range(4)]
    late = load_suppressor(SuppressorSettings()).latency_samples
    given, early_mb, started = 0, 0.0, time.perf_counter()
    for number in range(pushes):
        given += len(stream.push(parts[number % len(parts)]))
        early_mb = resident_mb() if number == pushes // 10 else early_mb
    given += len(stream.flush())
    took_s, sound_s = time.perf_counter() - started, pushes * PUSH_S
    return {
        "minutes": sound_s / 60,
        "missing_samples": float(sum(len(parts[n % len(parts)]) for n in range(pushes)) + late - given),
        "resident_after_a_tenth_mb": early_mb,
        "resident_at_the_end_mb": resident_mb(),
        "times_real_time": sound_s / took_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--model", type=Path, help="exported file for the command line and the hour")
    parser.add_argument("--hour", type=float, nargs="?", const=60.0, metavar="MINUTES")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = exported(folder)
        report["per_hop"] = costs(paths, options.rounds, options.seconds)
        if options.model:
            report["restore"] = from_the_command_line(options.model, folder)
        if options.hour:
            report["long"] = a_long_sound(options.model or paths["spectral small"], options.hour)
    whole = report["per_hop"]["dfn3 official"]["p50_ms"]
    print(f"{'ms per 10 ms, one thread':28} {'p50':>8} {'p99':>8}  of official")
    for way, cost in report["per_hop"].items():
        part = cost["p50_ms"] / whole
        print(f"{way:28} {cost['p50_ms']:8.3f} {cost['p99_ms']:8.3f} {part:12.2f}   ({cost['samples']:.0f} times)")
    for part in ("restore", "long"):
        for key, value in report.get(part, {}).items():
            print(f"{part + ' ' + key:40} {value:12.3f}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
