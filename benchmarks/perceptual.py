"""How well the loss `perceptual` follows PESQ, on whole recordings.

    python benchmarks/perceptual.py PAIRS [COUNT]

PAIRS holds noisy/ and clean/, as `evaluate --pairs` takes them and `development.py` writes them. Uses COUNT recordings
(by default all), each as it is, suppressed, and restored by the packaged voice at its default and at full strength.
Prints the correlation of the loss with the raw score, over everything and for the differences to the suppressor within
a recording, and how often the two agree on the sign of those differences.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch

from timbre_restore.audio import read_mono
from timbre_restore.losses import Perceptual, item_gain
from timbre_restore.metrics import NotComputableError, pesq_wb
from timbre_restore.runtime import Chain, Restorer
from timbre_restore.suppressors import load_suppressor


def raw_score(estimate: np.ndarray, clean: np.ndarray) -> float:
    """The raw score: the mapping of P.862.2 inverted."""
    return (3.8224 - math.log(4.0 / (pesq_wb(estimate, clean) - 0.999) - 1.0)) / 1.3669


def main(pairs: Path, count: int | None) -> None:
    torch.set_num_threads(1)
    chain, loss = Chain(load_suppressor(), Restorer.load()), Perceptual()
    rows = []
    for path in sorted((pairs / "noisy").iterdir())[:count]:
        noisy, clean = (read_mono(pairs / side / path.name) for side in ("noisy", "clean"))
        outputs = [chain(noisy, strength=0.0), noisy, chain(noisy), chain(noisy, strength=1.0)]
        theirs = torch.from_numpy(clean)[None, None]
        gain = item_gain(theirs)
        try:
            row = [(raw_score(x, clean), -loss(torch.from_numpy(x)[None, None] * gain, theirs * gain).item())
                   for x in outputs]  # fmt: skip
        except NotComputableError as exc:
            print(f"{path.stem}: left out, {exc}")
            continue
        rows.append(row)
    values = np.array(rows)  # [items, outputs, (score, loss)]
    print(f"{len(values)} recordings, {values.shape[1]} outputs each: {correlation(values.reshape(-1, 2)):.3f}")
    for column, name in enumerate(("noisy", "restored", "restored at full strength"), start=1):
        change = values[:, column] - values[:, 0]
        agree = np.mean(np.sign(change[:, 0]) == np.sign(change[:, 1]))
        print(f"{name} against the suppressor's: {correlation(change):.2f}, the same sign in {100 * agree:.0f} %")


def correlation(columns: np.ndarray) -> float:
    return float(np.corrcoef(columns.T)[0, 1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
