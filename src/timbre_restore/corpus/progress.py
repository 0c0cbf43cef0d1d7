"""Progress on standard error: a bar on a terminal, an occasional line in a log."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_EVERY_S = 30.0
_WORK = {"suppress": "suppressor", "mix": "reading and mixing", "write": "writing", "wait": "waiting"}


class PrepareProgress:
    """Counts finished takes; shows items per minute, the time left, and how the workers spend their time."""

    def __init__(self, total: int, *, visible: bool) -> None:
        self._total, self._done, self._items = total, 0, 0
        self._started = self._said = time.monotonic()
        self._spent_s: Counter[str] = Counter()
        self._visible = visible
        self._bar = _bar() if visible and sys.stderr.isatty() else None

    def __enter__(self) -> PrepareProgress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("preparing", total=self._total, rate="", work="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._visible:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def advance(self, takes: int, items: int, spent_s: Mapping[str, float]) -> None:
        """Add finished takes, the items they gave, and the seconds they cost per kind of work."""
        self._done += takes
        self._items += items
        self._spent_s.update(spent_s)
        now = time.monotonic()
        rate = f"{60.0 * self._items / max(now - self._started, 1e-3):.0f} items/min"
        if self._bar is not None:
            self._bar.update(self._task, advance=takes, rate=rate, work=self.work)
        elif now - self._said >= LINE_EVERY_S:
            self._said = now
            left = (now - self._started) / self._done * (self._total - self._done)
            self.say(f"{self._done} of {self._total} takes, {rate}, {left / 60:.0f} min left; {self.work}")

    @property
    def work(self) -> str:
        """Shares of the workers' time, e.g. 'suppressor 78 %, reading and mixing 14 %, writing 8 %'."""
        total = sum(self._spent_s.values())
        return ", ".join(
            f"{name} {100.0 * self._spent_s[kind] / total:.0f} %" for kind, name in _WORK.items() if self._spent_s[kind]
        )


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[work]}"),
        console=Console(stderr=True),
    )
