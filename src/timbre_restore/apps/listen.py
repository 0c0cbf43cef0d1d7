"""The commands `listen make`, `listen serve`, `listen analyse`: people judge systems by ear, on this machine only."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from timbre_restore.apps.console import STDOUT, give_results, note, progress_bar, say, show
from timbre_restore.apps.options import ConfigFile, Overrides, check_targets, configure, named_folder

TestFolder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The test's folder.")]


class Kind(StrEnum):
    """The kind of listening test."""

    mushra = "mushra"
    ccr = "ccr"


def make(
    folder: TestFolder,
    reference: Annotated[Path, typer.Option(metavar="DIR", help="Folder with the clean files.")],
    system: Annotated[
        list[str],
        typer.Option(metavar="NAME=DIR", help="A system and its folder, with the reference's file names; repeatable."),
    ],
    kind: Annotated[
        Kind, typer.Option(help="'mushra': all systems of an item on one page, 0 to 100; 'ccr': pairs, −3 to +3.")
    ] = Kind.mushra,
    count: Annotated[
        int | None, typer.Option(min=1, help="Items to draw by the seed; defaults to 8, or to all if fewer.")
    ] = None,
    item: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Use this item instead of drawing items; repeatable.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, max=60.0, help="The longest excerpt played, in seconds.")] = 8.0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed for drawing items and orders; defaults to the configuration's.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The system that the others are compared with; defaults to the first."),
    ] = None,
    mid_anchor: Annotated[bool, typer.Option("--mid-anchor", help="Add a 7 kHz anchor to the 3.5 kHz one.")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Make a listening test, serve it ('listen serve'), or read its answers ('listen analyse')."""
    settings = configure(config, overrides)
    systems = [named_folder(word) for word in system]
    from timbre_restore.listening import ListeningRequest, make_test

    wanted = ListeningRequest(
        reference=reference,
        systems=systems,
        kind=kind.value,
        items=item or (),
        count=count,
        seconds=seconds,
        seed=settings.seed if seed is None else seed,
        baseline=baseline,
        mid_anchor=mid_anchor,
    )
    with progress_bar("items") as progress:
        test = make_test(wanted, folder, progress)
    say(f"{folder}: {len(test.trials)} pages and {len(test.training)} to practise, of {len(systems)} systems.")
    say(f"next: timbre-restore listen serve {shlex.quote(str(folder))}")


def serve(
    folder: TestFolder,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 0,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Serve a listening test to browsers on this machine."""
    configure(config, overrides)
    from timbre_restore.listening import open_server

    with open_server(folder, port) as server:
        for line in server.sessions.damaged:
            note(f"warning: {line}")
        say(server.url)
        note("open the address in a browser on this machine; Ctrl-C ends the test, and answers are kept.")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            listeners, answers = server.sessions.counts()
            note(f"stopped; {answers} answers from {listeners} listeners are in {folder / 'answers'}.")


def analyse(
    folder: TestFolder,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The system that the others are compared with; defaults to the test's own."),
    ] = None,
    use_incomplete: Annotated[
        bool, typer.Option("--use-incomplete", help="Include the answered pages of listeners who did not finish.")
    ] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the result as JSON; '-' is stdout.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the result as an HTML page.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Report what the listeners found."""
    configure(config, overrides)
    check_targets({"--json": json, "--html": html})
    from timbre_restore.listening import analyse as analysed
    from timbre_restore.listening import as_json, result_table, write_page

    result = analysed(folder, baseline=baseline, use_incomplete=use_incomplete)
    show(result_table(result), aside=json == STDOUT)
    give_results(lambda: as_json(result), json, lambda place: write_page(result, place), html)
