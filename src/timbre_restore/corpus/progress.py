"""How far it is, on standard error: a bar for a person, a line now and then for a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_EVERY_S = 30.0


class PrepareProgress:
    """Counts takes against their number; shows items per minute and the time left."""

    def __init__(self, total: int, *, visible: bool) -> None:
        self._total, self._done, self._items = total, 0, 0
        self._started = self._said = time.monotonic()
        self._visible = visible
        self._bar = _bar() if visible and sys.stderr.isatty() else None

    def __enter__(self) -> PrepareProgress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("preparing", total=self._total, rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, items: int) -> None:
        """One take is done, and gave so many items."""
        self._done += 1
        self._items += items
        now = time.monotonic()
        per_minute = 60.0 * self._items / max(now - self._started, 1e-3)
        if self._bar is not None:
            self._bar.update(self._task, advance=1, rate=f"{per_minute:.0f} items/min")
        elif self._visible and now - self._said >= LINE_EVERY_S:
            self._said = now
            left = (now - self._started) / self._done * (self._total - self._done)
            sys.stderr.write(
                f"{self._done} of {self._total} takes, {per_minute:.0f} items/min, {left / 60:.0f} min left\n"
            )
            sys.stderr.flush()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
