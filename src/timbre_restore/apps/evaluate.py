"""Verb `evaluate`: noisy, degraded and restored side by side."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timbre_restore.apps.console import STDOUT, give_json, note, progress_bar, show
from timbre_restore.apps.options import ConfigFile, ModelFile, Overrides, Strength, check_targets, configure
from timbre_restore.apps.suppressing import suppressor_of
from timbre_restore.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from timbre_restore.evaluation import Item


def evaluate(
    pairs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with noisy/ and clean/ holding files of equal names.")
    ] = None,
    list_file: Annotated[
        Path | None, typer.Option("--list", metavar="FILE", help="A corpus list, lines 'degraded|clean'.")
    ] = None,
    model: ModelFile = None,
    strength: Strength = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the scores as JSON; '-' is stdout.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page to read and listen to.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> int:
    """Score noisy, degraded and restored."""
    settings = configure(config, overrides)
    items = _items(pairs, list_file)
    check_targets({"--json": json, "--html": html})
    if html is not None and importlib.util.find_spec("matplotlib") is None:
        # Said before an hour of scoring, not after it.
        raise MissingExtraError("matplotlib", "pip install 'timbre-restore[eval]'", "--html")
    from timbre_restore.evaluation import as_json, summary_table, write_page
    from timbre_restore.evaluation import evaluate as score
    from timbre_restore.runtime import Chain, Restorer

    restorer = Restorer.load(model)
    suppressor = suppressor_of(settings) if any(item.degraded is None for item in items) else None
    # Where every item is suppressed here, the restorer works inside of the suppressor, as it does in a call.
    chain = Chain(suppressor, restorer) if suppressor and all(item.degraded is None for item in items) else None
    with progress_bar("items") as progress:
        evaluation = score(
            items,
            suppressor,
            lambda degraded, noisy: (
                chain(noisy, strength=strength) if chain else restorer(degraded, noisy, strength=strength)
            ),
            progress=progress,
        )
    show(summary_table(evaluation), aside=json == STDOUT)
    if json is not None:
        give_json(as_json(evaluation), json)
    if html is not None:
        write_page(evaluation, html)
    if evaluation.failures:
        note(f"error: {len(evaluation.failures)} outputs break their contract; the table of failures says how.")
        return 1
    return 0


def _items(pairs: Path | None, list_file: Path | None) -> list[Item]:
    from timbre_restore.evaluation import items_from_list, items_from_pairs

    if pairs is not None and list_file is None:
        return items_from_pairs(pairs)
    if list_file is not None and pairs is None:
        return items_from_list(list_file)
    raise ConfigError(["evaluate: expected one of --pairs DIR and --list FILE; give the folder or the list to score."])
