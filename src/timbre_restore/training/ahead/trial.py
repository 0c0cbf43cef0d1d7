"""A small trial before a long run: ten recordings, three epochs, judged; then some steps of the full run, timed.

The trial is the beginning of the run itself: same networks, losses, rates and loader, in its own folder next to the
run's. It does not reach the GAN phase, but GAN steps are at least run while they are timed.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from timbre_restore.errors import CheckpointError, TimbreRestoreError, TrainingInterrupted
from timbre_restore.training.ahead.timing import StepTimes, time_steps
from timbre_restore.training.loop import train
from timbre_restore.training.monitors.guard import OnAnomaly
from timbre_restore.training.settings import TrainSettings

RECORDINGS = 10
EPOCHS = 3
LIMITS = {"l1": 0.1, "multi_stft": 1.0}
"""Upper limits for the last epoch's mean of each loss."""
MARKER = "trial.json"
"""File with the result. It also marks a folder as a trial's, which the next trial may replace, rather than a run's."""


@dataclass(frozen=True)
class Criterion:
    """One criterion of the trial."""

    name: str
    expected: str
    found: str
    passed: bool | None
    """None if it was not measured."""


@dataclass(frozen=True)
class Trial:
    """The result of a trial."""

    run: Path
    steps: int
    criteria: tuple[Criterion, ...]
    metrics: dict[str, float]
    """The last epoch's means; empty if no epoch was completed."""
    times: StepTimes | None
    """None if something failed before or during the timing."""
    log_bytes_per_epoch: int
    """Size of the log, curves and sounds per epoch."""

    @property
    def passed(self) -> bool:
        """Whether no criterion failed."""
        return all(criterion.passed is not False for criterion in self.criteria)


def run_trial(
    settings: TrainSettings,
    steps: int,
    *,
    on_anomaly: OnAnomaly = "stop",
    say: Callable[[str], None] = lambda _: None,
) -> Trial:
    """Train on the first recordings into `<output_dir>-trial`, then time `steps` steps of each kind on all of them.

    An error that would have ended a run counts as a failed criterion. Only a single process may do this. Raises
    `CheckpointError` if the folder exists and is not a trial's, and `TrainingInterrupted`.
    """
    run = Path(f"{settings.output_dir}-trial")
    _make_empty(run)
    # Every step is logged: there are few of them, and a NaN is then visible in the step in which it arose.
    small = replace(
        settings,
        output_dir=run,
        epochs=EPOCHS,
        steps=None,
        hours=None,
        long_epochs=0,
        recordings=RECORDINGS,
        log_every_steps=1,
    )
    failure, times = "", None
    try:
        train(small, on_anomaly=on_anomaly, say=say)
        say(f"timing up to {steps} steps of each kind on the whole corpus")
        times = time_steps(settings, steps)
    except TrainingInterrupted:
        raise
    except (TimbreRestoreError, MemoryError, torch.OutOfMemoryError) as exc:
        failure = " ".join(str(exc).split()) or type(exc).__name__
    lines = _log(run)
    metrics = {name: value for name, value in (lines["epoch"] or [{}])[-1].items() if isinstance(value, float)}
    not_finite = _not_finite(lines["train"] + lines["epoch"]) | set(times.not_finite if times else ())
    criteria = (
        Criterion("errors", "none", failure or "none", not failure),
        Criterion("NaN", "none", ", ".join(sorted(not_finite)) or "none", not not_finite),
        *(_below(metrics, name, limit) for name, limit in LIMITS.items()),
    )
    return Trial(run, len(lines["train"]), criteria, metrics, times, _log_bytes(run) // max(1, len(lines["epoch"])))


def _below(metrics: dict[str, float], name: str, limit: float) -> Criterion:
    """Compare a loss with its limit. One with weight 0 is not computed in training; its validation value is used."""
    found = next((key for key in (name, f"val_{name}") if key in metrics), None)
    if found is None:
        return Criterion(name, f"< {limit:g}", "not measured", None)
    return Criterion(found, f"< {limit:g}", f"{metrics[found]:.4f}", metrics[found] < limit)


def _make_empty(run: Path) -> None:
    """Replace an older trial. Raises `CheckpointError` if the folder holds anything else."""
    if run.exists() and not (run / MARKER).is_file():
        raise CheckpointError(
            f"{run}: exists and is not the folder of a trial; move it, or choose another training.output_dir."
        )
    try:
        if run.exists():
            shutil.rmtree(run)
        run.mkdir(parents=True)
        (run / MARKER).write_text("{}\n", encoding="utf-8")
    except OSError as exc:
        raise CheckpointError(
            f"{run}: the trial's folder can't be created ({exc}); choose another training.output_dir."
        ) from exc


def _log(run: Path) -> dict[str, list[dict[str, float]]]:
    path = run / "log.jsonl"
    found: dict[str, list[dict[str, float]]] = {"train": [], "epoch": []}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        entry = json.loads(line)
        if entry["kind"] in found:
            found[entry["kind"]].append(entry)
    return found


def _not_finite(entries: list[dict[str, float]]) -> set[str]:
    return {k for entry in entries for k, v in entry.items() if isinstance(v, float) and not math.isfinite(v)}


def _log_bytes(run: Path) -> int:
    """Size of everything except checkpoints."""
    files = [path for path in run.rglob("*") if path.is_file() and "checkpoints" not in path.relative_to(run).parts]
    return sum(path.stat().st_size for path in files)
