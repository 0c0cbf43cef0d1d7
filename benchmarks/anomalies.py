"""Faults planted in real training runs: which rule fires, after how many steps, and what it advises.

    python benchmarks/anomalies.py CORPUS OUT [NAME ...]

For each NAME (by default all), runs `tiny` on items of CORPUS in a process of its own, with the GAN in the second half.
`healthy` is the same run with nothing planted. Prints a line of JSON per run; OUT holds the runs' folders and pages.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from timbre_restore import losses
from timbre_restore.apps.cli import main as program
from timbre_restore.loading import TimbreRestoreDataset
from timbre_restore.training import loop, steps

STEPS, GAN = 400, 200
ROOT = Path(__file__).resolve().parent.parent


def before_each_step(act: Callable[[Any, list[Any]], None]) -> None:
    """Call `act` on the state and the signals before each step."""
    plain = loop.train_step

    def step(state: Any, accelerator: Any, run: Any, batches: Any, batch: int, signals: Any, **more: Any) -> Any:
        signals = list(signals)
        act(state, signals)
        return plain(state, accelerator, run, batches, batch, signals, **more)

    loop.train_step = step


def targets_swapped() -> None:
    losses.discriminator_real, losses.discriminator_fake = losses.discriminator_fake, losses.discriminator_real


def voices_swapped() -> None:
    plain = steps.discriminator_terms
    steps.discriminator_terms = lambda ours, theirs, kind: plain(theirs, ours, kind)


def frozen() -> None:
    before_each_step(lambda state, _: setattr(state.discriminator_optimizer, "step", lambda *_: None))


def nan_item() -> None:
    def spoil(state: Any, signals: list[Any]) -> None:
        if state.step == 57:
            signals[0] = signals[0].clone()
            signals[0][0, 0, 100] = math.nan

    before_each_step(spoil)


def no_memory() -> None:
    def starve(state: Any, _: list[Any]) -> None:
        if state.step == 57:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))

    before_each_step(starve)


def slow_loader() -> None:
    plain = TimbreRestoreDataset.read_into

    def slow(self: Any, *args: Any) -> None:
        time.sleep(2.0)
        plain(self, *args)

    TimbreRestoreDataset.read_into = slow  # type: ignore[method-assign]


PLANTED: dict[str, tuple[int, Callable[[], None] | None, list[str]]] = {
    "healthy": (STEPS, None, []),
    "learning rate × 1000": (0, None, ["training.learning_rate=1.0"]),
    "targets swapped in D": (GAN, targets_swapped, []),
    "voices swapped in D": (GAN, voices_swapped, []),
    "D frozen": (GAN, frozen, []),
    "loader slowed": (0, slow_loader, ["training.steps=60", "training.log_every_steps=5"]),
    "NaN in one item": (57, nan_item, []),
    "memory exhausted": (57, no_memory, []),
}
"""Name: the step from which the fault is present, how it is planted, and extra settings."""


def one(corpus: Path, run: Path, name: str) -> int:
    _, plant, extra = PLANTED[name]
    if plant is not None:
        plant()
    words = ["train", "--config", str(ROOT / "configs" / "cpu.yaml"), "--skip-audit"]
    settings = [
        f"data.output_dir={corpus}", f"training.output_dir={run}", "training.threads=1", "data.num_workers=1",
        "model.size=tiny", "training.batch_size=2", "discriminators.channels=4", "discriminators.periods=[2, 3]",
        "discriminators.windows=[512]", "training.epochs=4", "training.gan_start_epoch=2",
        "training.gan_ramp_epochs=0.5",
        "training.scheduler.warmup_epochs=1", f"training.steps={STEPS}", "training.validation_batches=8",
        "training.trackers=[]", "training.learning_rate=0.001", "training.loss_weights.compressed=100", *extra,
    ]  # fmt: skip
    return program([*words, *(word for setting in settings for word in ("--set", setting))])


def main(corpus: Path, out: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    for name in names or list(PLANTED):
        run = out / name.replace(" ", "-")
        done = subprocess.run([sys.executable, __file__, "--one", str(corpus), str(run), name], check=False)
        entries = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        events = [entry for entry in entries if entry["kind"] == "event"]
        result = {"planted": name, "from_step": PLANTED[name][0], "status": done.returncode, "rules": [
            {key: event[key] for key in ("rule", "step", "seen", "change", "action")} for event in events
        ]}  # fmt: skip
        print(json.dumps(result, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        torch.set_num_threads(1)
        sys.exit(one(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
