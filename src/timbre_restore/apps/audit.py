"""The `audit` command: is the corpus ready for training, and what would training take?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timbre_restore.apps.console import STDOUT, give_results, note, progress_bar, say
from timbre_restore.apps.options import ConfigFile, Overrides, check_targets, configure
from timbre_restore.apps.prepare import corpus_spec
from timbre_restore.apps.train import need_torch, train_settings
from timbre_restore.apps.trial import TRIAL_STEPS, run_on_machine
from timbre_restore.config import Config
from timbre_restore.errors import SuppressorError, TimbreRestoreError
from timbre_restore.processes import worker_pool

if TYPE_CHECKING:
    from timbre_restore.audit import Expected, Timing


def audit(
    folder: Annotated[Path | None, typer.Argument(help="The corpus folder; defaults to data.output_dir.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an HTML page with plots.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as JSON; '-' is stdout.")] = None,
    trial: Annotated[
        int, typer.Option(min=0, metavar="STEPS", help="Training steps to time, of each kind; 0 skips the trial.")
    ] = TRIAL_STEPS,
    no_trial: Annotated[bool, typer.Option("--no-trial", help="Skip the timed training steps.")] = False,
    num_workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes; defaults to data.num_workers.")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> int:
    """Check a corpus before training: completeness, alignment, split, contents, and what the run will take."""
    settings = configure(config, overrides)
    check_targets({"--html": html, "--json": json})
    from timbre_restore.audit import as_json, write_page
    from timbre_restore.audit import audit as look_over

    corpus = folder or settings.data.output_dir
    # A folder alone implies no configuration, so there is none to compare it with.
    compared = folder is None or config is not None or bool(overrides)
    with progress_bar("items") as progress:
        report = look_over(
            corpus,
            expected=_expected(settings) if compared else None,
            run=run_on_machine(settings),
            trial=None if no_trial or not trial else _trial(settings, corpus, trial),
            num_workers=settings.data.num_workers if num_workers is None else num_workers,
            progress=progress,
        )
    (note if json == STDOUT else say)(str(report))
    give_results(lambda: as_json(report), json, lambda place: write_page(report, place), html)
    return 0 if report.ready else 1


def _expected(config: Config) -> Expected:
    """What the configuration and the installed code would produce."""
    from timbre_restore.audit import Expected

    try:
        settings = corpus_spec(config).settings()
    except SuppressorError as exc:
        note(f"warning: the settings of the corpus can't be compared with the configuration: {exc}")
        settings = {}
    return Expected(config.data.segment, settings)


def _trial(config: Config, corpus: Path, steps: int) -> Callable[[], Timing]:
    """The trial, in its own process: what training sets and holds on to must not outlive it."""

    def measure() -> Timing:
        from timbre_restore.audit import Timing

        need_torch("a trial")
        ended = TimbreRestoreError("its process ended without an error message, most often because memory ran out")
        with worker_pool(1, ended=ended) as pool:
            return Timing(**pool.submit(_time_steps, config, corpus, steps).result())

    return measure


def _time_steps(config: Config, corpus: Path, steps: int) -> dict[str, Any]:
    from timbre_restore.training import time_steps

    return asdict(time_steps(train_settings(config, corpus=corpus), steps))
