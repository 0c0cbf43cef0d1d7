"""Verb `restore`: a file or a folder, noisy in, restored out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timbre_restore.apps.console import note, progress_bar, say
from timbre_restore.apps.options import ConfigFile, ModelFile, Overrides, Strength, configure
from timbre_restore.apps.suppressing import suppressor_of


def restore(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A wav or flac file, or a folder of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="File, or folder for a folder.")],
    already_suppressed: Annotated[
        bool, typer.Option("--already-suppressed", help="The input went through the suppressor before.")
    ] = False,
    strength: Strength = None,
    model: ModelFile = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> int:
    """Suppress noise, then give the voice back."""
    settings = configure(config, overrides)
    from timbre_restore.runtime import Chain, Restorer, restore_path

    restorer = Restorer.load(model)
    chain = None if already_suppressed else Chain(suppressor_of(settings), restorer)
    with progress_bar("files") as progress:
        summary = restore_path(source, output, restorer=restorer, suppress=chain, strength=strength, progress=progress)
    for result in summary.done:
        say(f"{result.target}: {result.seconds:.1f} s")
        if result.limited_samples:
            note(f"warning: {result.target}: {result.limited_samples} samples passed full scale and were limited.")
    for failure in summary.failed:
        note(f"error: {failure}")
    if summary.failed:
        note(f"{len(summary.failed)} of {len(summary.failed) + len(summary.done)} files were not restored.")
    return 1 if summary.failed else 0
