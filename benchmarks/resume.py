"""A run that is killed ten times at random steps and resumed each time: does it equal the uninterrupted run?

    python benchmarks/resume.py CORPUS [KILLS] [STEPS]

Trains `tiny` on a prepared corpus for two epochs of STEPS steps (30 by default) each, with discriminators in the
second: once undisturbed, and once with `kill -9` and SIGTERM in turn after random steps, each followed by
`--resume auto`. Compares the weights of the last checkpoint byte for byte, and the logs except for times. Exits with 1
if they differ, or if SIGTERM took longer than ten seconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timbre_restore.errors import CheckpointError
from timbre_restore.loading import read_list
from timbre_restore.training import find_checkpoint
from timbre_restore.training.record.journal import TIMES

LONGEST_END_S = 10.0
NAMES = ("generator", "ema", "discriminators")


def command(corpus: Path, run: Path, batch: int) -> list[str]:
    settings = (
        f"data.output_dir={corpus}", f"training.output_dir={run}", "training.epochs=2", "training.gan_start_epoch=1",
        f"training.batch_size={batch}", "training.validation_batches=2", "training.threads=1", "model.size=tiny",
        "training.checkpoint_minutes=0.02", "training.log_every_steps=1", "data.num_workers=1",
    )  # fmt: skip
    door = Path(__file__).parent.parent / "train.py"
    words = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, str(door), "--skip-audit", "--resume", "auto", *words]


def short_corpus(corpus: Path, folder: Path, items: int) -> Path:
    """The first items of both lists, in a folder of its own."""
    folder.mkdir()
    for name, count in (("train.txt", items), ("val.txt", 16)):
        lines = (corpus / name).read_text(encoding="utf-8").splitlines(keepends=True)[:count]
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def started(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(), start_new_session=True
    )


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def log_of(run: Path) -> str:
    path = run / "log.jsonl"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def log_without_times(run: Path) -> list[dict[str, object]]:
    entries = [json.loads(line) for line in log_of(run).splitlines()]
    return [{key: value for key, value in entry.items() if key not in TIMES} for entry in entries]


def step_of(run: Path) -> int:
    """The last step in the log."""
    lines = [line for line in log_of(run).splitlines() if line.endswith("}")]
    return int(json.loads(lines[-1])["step"]) if lines else 0


def saved_step(run: Path) -> int:
    try:
        return int(find_checkpoint(run).content["step"])
    except CheckpointError:
        return 0


def main(corpus: Path, kills: int = 10, steps: int = 30) -> int:
    draw, bad = random.Random(0), 0
    batch = 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = short_corpus(corpus, folder / "corpus", steps * batch)
        whole, cut = folder / "whole", folder / "cut"
        begun = time.monotonic()
        subprocess.run(command(short, whole, batch), check=True, capture_output=True, env=environment())
        took = time.monotonic() - begun
        print(f"undisturbed: {2 * steps} steps of {len(read_list(short / 'train.txt'))} items in {took:.0f} s")
        for number, step in enumerate(sorted(draw.sample(range(1, 2 * steps), kills))):
            way = (signal.SIGKILL, signal.SIGTERM)[number % 2]
            process = started(command(short, cut, batch))
            while process.poll() is None and step_of(cut) < step:
                time.sleep(0.02)
            os.killpg(process.pid, way)  # the whole group, as a terminal does
            sent = time.monotonic()
            status = process.wait()
            waited = time.monotonic() - sent
            bad += status == 0 or waited > LONGEST_END_S
            saved = saved_step(cut)
            print(
                f"{number + 1:2} {way.name} at step {step_of(cut)}: status {status} after {waited:.2f} s, saved {saved}"
            )
        subprocess.run(command(short, cut, batch), check=True, capture_output=True, env=environment())
        one, two = find_checkpoint(whole), find_checkpoint(cut)
        for part in NAMES:
            file = f"{part}.safetensors"
            equal = (one.folder / file).read_bytes() == (two.folder / file).read_bytes()
            bad += not equal
            print(f"{part}: {'equal' if equal else 'DIFFERENT'}")
        equal = log_without_times(whole) == log_without_times(cut)
        bad += not equal
        print(f"log: {'equal' if equal else 'DIFFERENT'}, {len(log_of(cut).splitlines())} lines")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:4])))
