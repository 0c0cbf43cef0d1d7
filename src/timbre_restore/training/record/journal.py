"""The log of a run: JSON lines, and the same values as curves in its trackers; written by the main process only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from timbre_restore import atomic
from timbre_restore.training.companions import part
from timbre_restore.training.monitors.findings import Finding
from timbre_restore.training.record.trackers import give_sounds

TIMES = ("seconds", "batches_per_s")
"""Keys of a line that may differ between two otherwise identical runs."""


class Journal:
    """`<run>/log.jsonl` and the trackers; lines after `step` are removed, so that a resumed log has no duplicates."""

    def __init__(self, run: Path, accelerator: Any, *, step: int) -> None:
        self._path = run / "log.jsonl"
        self._accelerator = accelerator
        self.lines_before: list[dict[str, Any]] = []
        """The `train` and `epoch` lines up to the point where the log was started or cut, oldest first."""
        self.events_before: list[dict[str, Any]] = []
        self.seconds = 0.0
        """Seconds of training up to that point."""
        self.cut(step)

    def cut(self, step: int) -> None:
        """Remove everything after `step`, except events that led back to an earlier step; called by all processes."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        kept = [line for line in lines if _step_of(line) <= step]
        entries = [json.loads(line) for line in kept]
        self.lines_before = [entry for entry in entries if entry["kind"] in ("train", "epoch")]
        self.events_before = [entry for entry in entries if entry["kind"] == "event"]
        self.seconds = max((float(entry.get("seconds", 0.0)) for entry in entries), default=0.0)
        self._accelerator.wait_for_everyone()  # all must have read before one writes
        if self._accelerator.is_main_process:
            atomic.write_text(self._path, "".join(line + "\n" for line in kept))

    def write(self, kind: str, step: int, values: Mapping[str, float | int]) -> None:
        """Write one line, `{"kind", "step", …}`, and the same values as curves."""
        if self._accelerator.is_main_process:
            self._append({"kind": kind, "step": step, **values})
        self._accelerator.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def event(self, finding: Finding, *, action: str, **more: int) -> None:
        """Write what a monitor noticed, and what was done about it: `{"kind": "event", "step", "rule", …}`.

        With `back_to`, the step to which the run went back, the event counts as belonging to that step and is kept when
        the log is cut to it.
        """
        if self._accelerator.is_main_process:
            said = {"rule": finding.rule, "seen": finding.seen, "likely": finding.likely, "change": finding.change}
            self._append({"kind": "event", "step": finding.step, **said, "action": action, **more})

    def sounds(self, step: int, items: Mapping[str, Mapping[str, torch.Tensor]], sample_rate_hz: int) -> None:
        """Send audio and spectrograms of each item's named signals `[T]` to the trackers."""
        if self._accelerator.is_main_process:
            give_sounds(self._accelerator.trackers, step, items, sample_rate_hz)

    def _append(self, entry: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def close(self) -> None:
        part(self._accelerator)


def _step_of(line: str) -> int:
    try:
        entry = json.loads(line)
        return int(entry.get("back_to", entry["step"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return 1 << 62  # a line truncated by a crash is removed too
