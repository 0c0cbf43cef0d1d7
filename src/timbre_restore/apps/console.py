"""Console output: results go to stdout, everything else to stderr, so that a pipe gets only results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from timbre_restore import atomic

STDOUT = Path("-")


def say(text: str) -> None:
    """Write a line of the result to stdout, unchanged; does nothing if stdout was closed before the program started."""
    _write(sys.stdout, text)


def note(text: str) -> None:
    """Write a line that is not part of the result to stderr: progress, warnings, failures."""
    _write(sys.stderr, text)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        stream.write(text + "\n")
        stream.flush()


def give_json(content: Any, path: Path) -> None:
    """Write readable JSON to a file (atomically), or to stdout when `path` is `STDOUT`."""
    if path == STDOUT:
        say(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False))
    else:
        atomic.write_json(path, content)


def give_results(
    content: Callable[[], Any], json: Path | None, page: Callable[[Path], None], html: Path | None
) -> None:
    """Write the requested JSON and HTML page; if one can't be written, the other still is."""
    with ExitStack() as both:
        if html is not None:
            both.callback(page, html)
        if json is not None:
            both.callback(give_json, content(), json)


def show(renderable: RenderableType, *, aside: bool = False) -> None:
    """Print a table; `aside` sends it to stderr. A pipe has no width, so it gets enough for every column."""
    console = Console(stderr=aside, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 120)
    console.print(renderable)


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[int, int, object], None]]:
    """A progress bar on a terminal, removed when done; yields a function of (done, total, name of the current item)."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def update(done: int, total: int, name: object) -> None:
            bar.update(task, completed=done, total=total, description=str(name))

        yield update
