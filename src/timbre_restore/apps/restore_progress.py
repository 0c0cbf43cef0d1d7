"""Progress of `restore` on standard error: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from timbre_restore.apps.console import note

if TYPE_CHECKING:
    from timbre_restore.runtime import Standing

LINE_EVERY_S = 30.0


@contextmanager
def restore_progress() -> Iterator[Callable[[Standing], None]]:
    """Yields a function that takes a `Standing`, as often as the caller likes."""
    console = Console(stderr=True)
    columns = BarColumn(), TextColumn("{task.description}", markup=False)
    started = said = time.monotonic()
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None)

        def tell(standing: Standing) -> None:
            nonlocal said
            now = time.monotonic()
            words = in_words(standing, now - started)
            bar.update(task, completed=standing.seconds, total=standing.all_s, description=words)
            if not console.is_terminal and now - said >= LINE_EVERY_S:
                said = now
                note(words)

        yield tell


def in_words(standing: Standing, spent_s: float) -> str:
    """For example '3 of 12 files, 41.0 times real time, 2:05 left'."""
    words = f"{standing.files} of {standing.all_files} files" if standing.all_files > 1 else f"{standing.seconds:.0f} s"
    if standing.seconds and spent_s:
        words += f", {standing.seconds / spent_s:.1f} times real time"
        if standing.all_s is not None:
            left = max(0.0, standing.all_s - standing.seconds) * spent_s / standing.seconds
            words += f", {int(left) // 60}:{int(left) % 60:02d} left"
    return words
