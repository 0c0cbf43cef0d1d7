"""Voices side by side on the same recordings: strengths, modes of use, number formats.

    python benchmarks/voices.py PAIRS SYSTEM [SYSTEM ...]

PAIRS holds noisy/ and clean/ (`benchmarks/development.py` makes them). A SYSTEM is MODEL[:FORMAT][@STRENGTH][,WAY]:
MODEL is an exported file or a packaged voice; FORMAT is `fp32` (as it is), or `fp16` or `int8` converted here; WAY is
`chain` (in one process with DeepFilterNet3's graphs), `box` (behind it, given its output and the noisy signal) or
`alone` (given its output only). `limit=DB` stands for the suppressor with an attenuation limit. Prints the mean of
every metric, how many recordings each system makes worse than the suppressor, and for exported files their size and
the milliseconds per hop of the graph.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16
from runtime import graph_alone, milliseconds

from timbre_restore.evaluation import Suppressing, evaluate, items_from_pairs
from timbre_restore.evaluation.results import DEGRADED, NOISY
from timbre_restore.evaluation.summary import mean, worse
from timbre_restore.evaluation.systems import Run
from timbre_restore.runtime import Chain, Restorer
from timbre_restore.suppressors import SuppressorSettings, load_suppressor

FloatArray = NDArray[np.float32]
Way = Callable[[FloatArray, FloatArray], FloatArray]
KEYS = ("osr", "osr_hf", "resid", "lsd", "sisdr", "pesq", "estoi")
TIMED_HOPS = 500


def in_format(model: str, form: str, folder: Path) -> Path | str:
    """The model in another number format, converted by ONNX Runtime's own tools; inputs and outputs stay float32."""
    if form == "fp32":
        return model
    source = Restorer.load(model).model.name
    target = folder / f"{Path(source).stem}-{form}.onnx"
    if form == "fp16":
        onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)
    elif form == "int8":
        quantize_dynamic(source, target, weight_type=QuantType.QInt8)
    else:
        raise SystemExit(f"{form}: expected fp32, fp16 or int8.")
    return target


@dataclass(frozen=True)
class Judged:
    """A system that is a function of (noisy, degraded), run in this process and not cached."""

    name: str
    way: Way
    foreign: bool = False
    strength: float | None = None
    identity: str = ""

    def open(self) -> Run:
        return lambda given: self.way(given.noisy, given.degraded)


def system_of(text: str, folder: Path) -> tuple[Way, Path | None]:
    """The function from (noisy, degraded) to an output, and the model file that it uses."""
    if text.startswith("limit="):
        limited = load_suppressor(SuppressorSettings(attenuation_limit_db=float(text.removeprefix("limit="))))
        return (lambda noisy, _degraded: limited(noisy)), None
    words, _, way = text.partition(",")
    words, _, strength = words.partition("@")
    model, _, form = words.partition(":")
    path = in_format(model, form or "fp32", folder)
    restorer = Restorer.load(path)
    amount = float(strength) if strength else None
    file = Path(restorer.model.name)
    if way in ("", "chain"):
        chain = Chain(load_suppressor(SuppressorSettings(runtime="graphs")), restorer)
        return (lambda noisy, _degraded: chain(noisy, strength=amount)), file
    if way == "box":
        return (lambda noisy, degraded: restorer(degraded, noisy, strength=amount)), file
    if way == "alone":
        return (lambda _noisy, degraded: restorer(degraded, degraded, strength=amount)), file
    raise SystemExit(f"{text}: expected chain, box or alone after the comma.")


def costs(files: list[Path]) -> dict[Path, float]:
    """Median milliseconds per hop of each graph, taking turns."""
    pushes = {file: graph_alone(file) for file in files}
    hop, spent = np.zeros(480, np.float32), {file: list[float]() for file in files}
    for _ in range(TIMED_HOPS):
        for file, push in pushes.items():
            spent[file].append(milliseconds(lambda push=push: push(hop)))  # type: ignore[misc]
    return {file: float(np.median(values)) for file, values in spent.items()}


def main(pairs: Path, texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        systems = {text: system_of(text, Path(name)) for text in texts}
        timed = costs(sorted({file for _, file in systems.values() if file}))
        sizes = {file: file.stat().st_size / 1e6 for file in timed}
        result = evaluate(
            items_from_pairs(pairs),
            Suppressing(SuppressorSettings(runtime="graphs")),
            [Judged(text, run) for text, (run, _) in systems.items()],
            progress=lambda done, count, _stem: print(f"\r{done}/{count}", end="", file=sys.stderr),
        )
    print(f"\n{'':36} " + " ".join(f"{key:>7}" for key in KEYS) + "  worse")
    for title, system in {NOISY: NOISY, "dfn3": DEGRADED, **{text: text for text in texts}}.items():
        values = [mean(result, system, key) for key in KEYS]
        shown = " ".join("    n/a" if value is None else f"{value:7.3f}" for value in values)
        bad = worse(result, system)
        print(f"{title:36} {shown}  {len(bad.stems)} of {bad.judged}", end="")
        file = systems[title][1] if title in systems else None
        print(f"  {sizes[file]:.2f} MB, {timed[file]:.3f} ms a hop" if file else "")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit("voices.py: expected PAIRS and at least one SYSTEM; see the docstring of this file.")
    main(Path(sys.argv[1]), sys.argv[2:])
