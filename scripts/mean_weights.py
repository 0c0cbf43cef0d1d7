#!/usr/bin/env python3
"""The mean of two runs' weights, as a checkpoint: typically of a stage and the one before it, which it started from.

    scripts/mean_weights.py FIRST SECOND OUT

FIRST and SECOND are runs or checkpoints of the same generator, OUT a folder that does not exist yet. If one started
from the other, the mean may be better than either (Wortsman et al. 2022, "Model soups"); for unrelated runs it is
useless. Both generators of OUT are the mean of the averaged ones; everything else is SECOND's.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from timbre_restore.atomic import write_json
from timbre_restore.errors import CheckpointError, TimbreRestoreError
from timbre_restore.training import find_checkpoint


def main(first: Path, second: Path, out: Path) -> None:
    if out.exists():
        raise CheckpointError(f"{out}: already exists; give a folder that does not.")
    one, other = find_checkpoint(first), find_checkpoint(second)
    names = [str(found.content["model"]["generator"]) for found in (one, other)]
    if names[0] != names[1]:
        raise CheckpointError(
            f"{other.folder}: holds the generator {names[1]}, {one.folder} {names[0]}; both must be the same."
        )
    weights = [load_file(found.folder / "ema.safetensors") for found in (one, other)]
    mean = {name: (0.5 * (weights[0][name] + value)).to(value.dtype) for name, value in weights[1].items()}
    making = out.with_name(f".{out.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(other.folder, making)
    sums = dict(other.content["sha256"])
    for name in ("ema.safetensors", "generator.safetensors"):
        save_file(mean, making / name)
        sums[name] = hashlib.sha256((making / name).read_bytes()).hexdigest()
    write_json(making / "checkpoint.json", other.content | {"sha256": sums})
    making.rename(out)
    sys.stdout.write(f"{out}: the mean of {one.folder} and {other.folder}\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(str(__doc__))
    try:
        main(*map(Path, sys.argv[1:]))
    except TimbreRestoreError as exc:
        sys.exit(f"error: {exc}")
