"""Whether this machine can do the run: disk, memory, and the hours it would take.

Hours come from a trial: a few real steps of the configured model on the corpus's own items. The interval is a bootstrap
over those steps, so it shows how much they vary, not how other load on the machine will affect the run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audit.listing import Corpus
from timbre_restore.audit.report import Report
from timbre_restore.errors import TimbreRestoreError

DRAWS = 2000
LOADER_SHARE = 0.1
"""Share of the time: if steps wait longer than this, the loader is the bottleneck."""


@dataclass(frozen=True)
class Run:
    """The training settings that affect the load on the machine."""

    batch_size: int = 16
    epochs: int = 60
    gan_epochs: int = 45
    """The number of epochs with discriminators."""
    steps: int | None = None
    """The length in steps instead (or in `hours`); the phases keep their shares of `epochs`."""
    hours: float | None = None
    items_per_step: int | None = None
    """For runs on long segments only: how many items of the epoch's list one step takes."""
    validation_batches: int = 0
    """Maximum number per epoch; 0 takes all."""
    output_dir: Path = Path("runs/default")


@dataclass(frozen=True)
class Timing:
    """Measurements of a few steps; fields as in `training.StepTimes`."""

    plain_s: Sequence[float]
    """Seconds of each step without discriminators, loading included."""
    gan_s: Sequence[float]
    """Seconds of each step with discriminators; empty if the run has none."""
    plain_wait_s: Sequence[float]
    """Seconds that each step without discriminators waited for its batch."""
    gan_wait_s: Sequence[float]
    validation_s: float
    """Seconds per validation batch; 0 without validation."""
    device: str
    memory_bytes: int
    """Peak resident memory of the process."""
    device_memory_bytes: int = 0
    """Peak memory of the GPU; 0 without one."""
    checkpoints_bytes: int = 0
    """Maximum size of all checkpoints on disk at one time."""
    not_finite: Sequence[str] = ()
    """Names of losses that were NaN or infinite."""


def check_machine(corpus: Corpus, run: Run, report: Report) -> None:
    """Report disk and memory."""
    size = sum(max(size, 0) for size in corpus.files.values())
    free = _free(run.output_dir)
    report.fact("machine", "corpus on disk", _bytes(size), size)
    if free is not None:
        report.fact("machine", "free disk for the run", _bytes(free), free)
        if free < 1 << 30:
            report.warn("disk", f"only {_bytes(free)} are free for {run.output_dir}; checkpoints need more")
    memory = _available_memory()
    if memory is not None:
        report.fact("machine", "memory available", _bytes(memory), memory)
        if size > memory:
            report.warn(
                "memory",
                f"the corpus ({_bytes(size)}) does not fit into the available memory "
                f"({_bytes(memory)}), so every epoch reads it from disk again",
            )


def check_duration(corpus: Corpus, run: Run, trial: Callable[[], Timing] | None, report: Report) -> float | None:
    """Report steps per second and hours of the run, from a trial; a trial that fails gives a warning, not an error.

    Returns the number of epochs that the run will have, or None without a trial.
    """
    if trial is None:
        return None
    if not report.ready:
        report.fact("prediction", "trial", "not made, because the corpus is not ready")
        return None
    try:
        found = trial()
    except (TimbreRestoreError, ImportError, RuntimeError, OSError) as exc:
        reason = " ".join(str(exc).split())
        report.fact("prediction", "trial", f"not made: {reason}")
        report.warn("trial", f"the trial failed: {reason}")
        return None
    steps = -(-corpus.items["train"] // (run.items_per_step or run.batch_size))
    _say_needs(run, found, report)
    if found.not_finite:
        report.warn("trial", f"losses were NaN or infinite in the trial's steps: {', '.join(found.not_finite)}")
    rng = np.random.default_rng(0)
    plain, gan = (_means(seconds, rng) for seconds in (found.plain_s, found.gan_s or found.plain_s))
    for name, means in (("before the GAN", plain), *([("with the GAN", gan)] if found.gan_s else [])):
        _say_interval(report, f"batches/s {name}", 1.0 / means, "batches/s")
    batches = -(-corpus.items["val"] // run.batch_size)
    batches = min(batches, run.validation_batches) if run.validation_batches else batches
    per_epoch = steps * np.stack([plain, gan]) + batches * found.validation_s
    with_gan = run.gan_epochs / run.epochs
    epoch_s = (1.0 - with_gan) * per_epoch[0] + with_gan * per_epoch[1]
    epochs = float(run.epochs)
    if run.hours is not None:
        epochs = float(run.hours * 3600.0 / epoch_s[0])
        _say_interval(report, f"{run.hours:g} hours", run.hours * 3600.0 / epoch_s, "epochs")
    elif run.steps is not None:
        epochs = run.steps / steps
        _say_interval(report, f"{run.steps} steps", run.steps / steps * epoch_s / 3600.0, "hours")
    else:
        _say_interval(report, f"{run.epochs} epochs of {steps} steps", run.epochs * epoch_s / 3600.0, "hours")
    _say_waiting(found, report)
    return epochs


def _say_needs(run: Run, found: Timing, report: Report) -> None:
    """Report the trial's memory and the disk space for checkpoints."""
    on_device = f", {_bytes(found.device_memory_bytes)} of the GPU's" if found.device_memory_bytes else ""
    report.fact(
        "prediction",
        "trial",
        f"{len(found.plain_s)} + {len(found.gan_s)} steps of {run.batch_size} items on "
        f"{found.device}, one process; {_bytes(found.memory_bytes)} of memory at peak{on_device}",
        {
            "device": found.device,
            "memory_bytes": found.memory_bytes,
            "device_memory_bytes": found.device_memory_bytes,
        },
    )
    need, free = found.checkpoints_bytes, _free(run.output_dir)
    report.fact("prediction", "checkpoints on disk", f"{_bytes(need)} at most", need)
    if free is not None and need > free:
        report.warn(
            "disk",
            f"checkpoints need up to {_bytes(need)}, but {_bytes(free)} are free for {run.output_dir}; free disk "
            "space, or choose another training.output_dir",
        )


def _say_waiting(found: Timing, report: Report) -> None:
    """Report how long steps wait for the loader, and whether loader or step is the bottleneck."""
    shares = {
        name: sum(waited) / max(sum(whole), 1e-9)
        for name, waited, whole in (
            ("before the GAN", found.plain_wait_s, found.plain_s),
            ("with the GAN", found.gan_wait_s, found.gan_s),
        )
        if whole
    }
    limits = {name: "loader" if share > LOADER_SHARE else "step" for name, share in shares.items()}
    text = ", ".join(f"{100 * share:.1f} % of the time {name}" for name, share in shares.items())
    if "loader" in limits.values():
        names = " and ".join(name for name, limit in limits.items() if limit == "loader")
        text += f"; the loader is the bottleneck {names}: raise data.num_workers, or prepare with data.format=packed"
    else:
        text += "; the step is the bottleneck"
    report.fact("prediction", "waiting for the loader", text, {"share": shares, "limit": limits})


def _means(seconds: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    """The mean, followed by the means of bootstrap draws: `[1 + DRAWS]`."""
    values = np.asarray(seconds, dtype=np.float64)
    drawn = values[rng.integers(len(values), size=(DRAWS, len(values)))].mean(axis=1)
    return np.concatenate([values.mean()[None], drawn])


def _say_interval(report: Report, name: str, values: NDArray[np.float64], unit: str) -> None:
    low, high = np.quantile(values[1:], (0.025, 0.975)).tolist()
    value = float(values[0])
    # Values are in hours; less than one is shown in minutes.
    factor, shown = (60.0, "minutes") if unit == "hours" and value < 1.0 else (1.0, unit)
    between = f"95 %: {low * factor:.3g} to {high * factor:.3g}" if low < high else "too few steps for an interval"
    report.fact(
        "prediction",
        name,
        f"{value * factor:.3g} {shown} ({between})",
        {"value": value, "low": low, "high": high, "unit": unit},
    )


def _free(folder: Path) -> int | None:
    """Free bytes where the folder is or would be."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None


def _available_memory() -> int | None:
    """Bytes available without swapping; None if the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
