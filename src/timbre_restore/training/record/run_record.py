"""The description of a run in its folder: `run.json`, `config.yaml` to resume with, and the page at its end.

    run.json     {"plan", "order", "corpus", "place", "parameters", "software", "changed", "settings", "tracker_run",
                  "parts", "ended"}
    config.yaml  the complete configuration, with absolute paths of corpus and run

Both are written before the first step, so that a run that fails at once is described as fully as one that finishes.
"""

from __future__ import annotations

import copy
import json
import platform
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from timbre_restore import atomic
from timbre_restore.errors import TrainingInterrupted, TrainingStopped
from timbre_restore.training.checkpoints.checkout_state import code_state
from timbre_restore.training.record.page import write_page
from timbre_restore.training.schedule import Plan
from timbre_restore.training.settings import TrainSettings
from timbre_restore.training.state import TrainState

PACKAGES = ("timbre-restore", "torch", "accelerate", "numpy")


def begin_record(
    settings: TrainSettings,
    plan: Plan,
    state: TrainState,
    order: Mapping[str, Any],
    epoch_steps: int,
    *,
    processes: int,
) -> str:
    """Write `run.json` and `config.yaml`; return the ID of the run for trackers, which is the same after a resume."""
    run = settings.output_dir
    before = read_record(run) if state.step else {}
    number = str(before.get("tracker_run") or secrets.token_hex(4))
    configuration = _placed(settings)
    content = {
        "plan": {
            "epochs": plan.length,
            "epoch_steps": epoch_steps,
            "warmup_epochs": plan.warmup,
            "gan_start_epoch": plan.gan_start if plan.gan_start < plan.length else None,
            "best_metric": settings.best_metric,
            "processes": processes,
        },
        "order": dict(order),
        "corpus": str(settings.corpus.resolve()),
        "place": str(run.resolve()),
        "parameters": {"generator": _count(state.ema), "discriminators": _count(state.discriminators)},
        "software": software(),
        "changed": differences(settings.defaults, settings.record) if settings.defaults else {},
        "settings": settings.record,
        "tracker_run": number,
        "parts": int(before.get("parts", 0)) + 1,
        "ended": None,
    }
    atomic.write_json(run / "run.json", content)
    atomic.write_text(run / "config.yaml", yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True))
    return number


@contextmanager
def ending_kept(run: Path, state: TrainState, talk: Callable[[str], None]) -> Iterator[None]:
    """Record in `run.json` how the block ended, and write the page, whatever happens."""
    try:
        yield
    except BaseException as exc:
        _end(run, state.step, _how(exc), str(exc) or type(exc).__name__, talk)
        raise
    _end(run, state.step, "finished", "", talk)


def read_record(run: Path) -> dict[str, Any]:
    """The content of `run.json`; empty if it is missing or can't be read."""
    try:
        content = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def differences(defaults: Mapping[str, Any], values: Mapping[str, Any], under: str = "") -> dict[str, dict[str, Any]]:
    """`{"section.key": {"default", "value"}}` for every value that differs from the defaults."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        default, name = defaults.get(key), f"{under}{key}"
        if isinstance(value, dict) and isinstance(default, dict):
            found |= differences(default, value, f"{name}.")
        elif value != default:
            found[name] = {"default": default, "value": value}
    return found


def software() -> dict[str, str]:
    """Versions, the machine, and the commit if the program runs from a checkout."""
    found = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a checkout that was never installed
            continue
    device = torch.accelerator.current_accelerator()
    found["device"] = torch.cuda.get_device_name() if device and device.type == "cuda" else str(device or "cpu")
    code = code_state()
    if code["commit"]:
        found["commit"] = f"{code['commit'][:12]}{'-dirty' if code['uncommitted_changes'] else ''}"
    return found


def _end(run: Path, step: int, how: str, said: str, talk: Callable[[str], None]) -> None:
    try:
        atomic.write_json(run / "run.json", read_record(run) | {"ended": {"how": how, "said": said, "step": step}})
        if (run / "log.jsonl").is_file() and (run / "log.jsonl").stat().st_size:
            write_page(run)
    except OSError as exc:
        talk(f"warning: {run / 'run.html'}: can't be written ({exc}); the run itself is not affected.")


def _how(exc: BaseException) -> str:
    if isinstance(exc, TrainingStopped):
        return "stopped"
    if isinstance(exc, (TrainingInterrupted, KeyboardInterrupt)):
        return "interrupted"
    return "failed"


def _placed(settings: TrainSettings) -> dict[str, Any]:
    """The configuration with absolute paths, which are valid from any working directory."""
    content = copy.deepcopy(settings.record)
    for section, place in (("data", settings.corpus), ("training", settings.output_dir)):
        if isinstance(content.get(section), dict):
            content[section]["output_dir"] = str(place.resolve())
    return content


def _count(module: nn.Module | Any) -> int:
    return sum(p.numel() for p in module.parameters())
