"""The `check` command: verifies on an exported file itself what it promises.

Latency, causality, streaming, determinism, stability and cost, each as a figure next to its limit. If any figure is
above its limit, the program reports it and exits with status 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timbre_restore.apps.console import STDOUT, give_json, note, progress_bar, show
from timbre_restore.apps.options import ConfigFile, Overrides, check_targets, configure
from timbre_restore.apps.suppressing import suppressor_of

if TYPE_CHECKING:
    from rich.table import Table

    from timbre_restore.runtime.checks import Row


def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An exported file, or a packaged voice by name.")],
    hours: Annotated[float, typer.Option(min=0.001, max=1000, help="Hours of audio to test with.", metavar="H")] = 1.0,
    quick: Annotated[bool, typer.Option("--quick", help="Take seconds instead of minutes; ignores --hours.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results as JSON; '-' is stdout.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Verify an exported file: latency, causality, streaming, stability, cost."""
    settings = configure(config, overrides)
    check_targets({"--json": json})
    from timbre_restore.errors import ModelError
    from timbre_restore.runtime import Chain, Restorer
    from timbre_restore.runtime.checks import Extent, check_model, sentence_of

    restorer = Restorer.load(model, threads=1)
    suppressor = suppressor_of(settings)
    chain = Chain(suppressor, restorer)
    if not chain.streams:
        note(f"note: {suppressor.build} can't be streamed here, so what a chain promises is not checked.")
    with progress_bar("stretches") as progress:
        rows = check_model(Path(restorer.name), chain, Extent.quick() if quick else Extent(hours=hours), progress)
    failed = sentence_of(rows, restorer.name)
    show(_table(rows, restorer.name), aside=json == STDOUT)
    if json is not None:
        report = {
            "model": restorer.name, "metadata": restorer.metadata, "suppressor_build": suppressor.build,
            "passed": not failed, "checks": [row.as_dict() for row in rows],
        }  # fmt: skip
        give_json(report, json)
    if failed:
        raise ModelError(failed)


def _table(rows: list[Row], name: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(name), title_justify="left")
    for heading in ("check", "figure", "limit", "", "passed"):
        table.add_column(heading, justify="right" if heading in ("figure", "limit") else "left")
    table.add_column("meaning")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.figure:.4g}",
            f"{row.limit:.4g}",
            row.unit,
            "yes" if row.passed else "NO",
            escape(row.about),
        )
    return table
