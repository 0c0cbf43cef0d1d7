"""How far `restore` is, on standard error: a bar for a person, a line now and then for a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from timbre_restore.apps.console import note

if TYPE_CHECKING:
    from rich.progress import Progress

    from timbre_restore.runtime import Standing

LINE_EVERY_S = 30.0


class RestoreProgress:
    """Takes a `Standing` as often as it likes."""

    def __init__(self) -> None:
        self._started = self._said = time.monotonic()
        self._bar = _bar() if sys.stderr.isatty() else None

    def __enter__(self) -> RestoreProgress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("restoring", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, standing: Standing) -> None:
        """Show it, if there is somebody to see it or something was not said for long."""
        now = time.monotonic()
        words = in_words(standing, now - self._started)
        if self._bar is not None:
            self._bar.update(self._task, completed=standing.seconds, total=standing.all_s, description=words)
        elif now - self._said >= LINE_EVERY_S:
            self._said = now
            note(words)


def in_words(standing: Standing, spent_s: float) -> str:
    """E.g. '3 of 12 files, 41 times real time, 2:05 left'."""
    words = f"{standing.files} of {standing.all_files} files" if standing.all_files > 1 else f"{standing.seconds:.0f} s"
    if standing.seconds and spent_s:
        words += f", {standing.seconds / spent_s:.1f} times real time"
        if standing.all_s is not None:
            left = max(0.0, standing.all_s - standing.seconds) * spent_s / standing.seconds
            words += f", {int(left) // 60}:{int(left) % 60:02d} left"
    return words


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        BarColumn(), TextColumn("{task.description}", markup=False), console=Console(stderr=True), transient=True
    )
