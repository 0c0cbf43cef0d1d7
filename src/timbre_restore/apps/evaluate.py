"""Verb `evaluate`: noisy, the suppressor, what people do today, and restorers side by side."""

from __future__ import annotations

import errno
import importlib.util
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timbre_restore.apps.console import STDOUT, give_results, note, progress_bar, show
from timbre_restore.apps.options import ConfigFile, Overrides, Strength, check_targets, configure, named_folder
from timbre_restore.apps.suppressing import settings_of
from timbre_restore.errors import ConfigError, MissingExtraError, extra_command
from timbre_restore.processes import usable_cores

if TYPE_CHECKING:
    from timbre_restore.evaluation import Cache, Evaluation, Item, System
    from timbre_restore.metrics import Metric
    from timbre_restore.suppressors import SuppressorSettings

LIMITS = "24,18,12,6"


def evaluate(
    pairs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with noisy/ and clean/ holding files of equal names.")
    ] = None,
    list_file: Annotated[
        Path | None, typer.Option("--list", metavar="FILE", help="A corpus list, lines 'degraded|clean'.")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of noisy recordings without clean ones.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]ONNX", help="An exported model, the packaged one without it; several with names."),
    ] = None,
    strength: Strength = None,
    system: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Outputs of another system, named as the items; may be given again."),
    ] = None,
    limits: Annotated[
        str, typer.Option(metavar="DB,DB,…", help="Attenuation limits of the suppressor to stand beside; '' for none.")
    ] = LIMITS,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", metavar="KEY", help="A metric, or a set: core, default, more, all; may be given again."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0 takes one per core.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where scores are kept; the user's cache without it.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither read scores that are kept, nor keep any.")
    ] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the scores as JSON; '-' is stdout.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page to read and listen to.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> int:
    """Score noisy, degraded and restored."""
    settings = settings_of(configure(config, overrides))
    metrics = _metrics(metric)
    items = _items(pairs, list_file, recordings)
    check_targets({"--json": json, "--html": html})
    if html is not None and importlib.util.find_spec("matplotlib") is None:
        # Said before an hour of scoring, not after it.
        raise MissingExtraError("matplotlib", extra_command("eval"), "--html")
    from timbre_restore.evaluation import Suppressing, as_json, files_beside, summary_table, write_page
    from timbre_restore.evaluation import evaluate as score

    if html is not None and (beside := files_beside(html)).exists() and not beside.is_dir():
        raise ConfigError(
            [f"--html {html}: what does not fit into the page goes to {beside}, which is a file; move it."]
        )

    # Where every item is suppressed here, the restorer works inside of the suppressor, as it does in a call.
    inside = settings if all(item.degraded is None for item in items) else None
    systems = [
        *_restoring(model, strength, inside),
        *_limited(limits, settings.attenuation_limit_db, inside),
        *_folders(system, items),
    ]
    with progress_bar("items") as progress:
        evaluation = score(
            items,
            Suppressing(settings),
            systems,
            metrics=metrics,
            jobs=jobs or usable_cores(),
            cache=None if no_cache else _cache(cache),
            with_clips=html is not None,
            progress=progress,
        )
    show(summary_table(evaluation), aside=json == STDOUT)
    give_results(lambda: as_json(evaluation), json, lambda place: write_page(evaluation, place), html)
    return _ended(evaluation)


def _cache(folder: Path | None) -> Cache | None:
    """What is kept where it was asked for, or in the user's cache; without a place for that one, nothing is."""
    from timbre_restore.evaluation import Cache

    place = folder or _home()
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as exc:
        if folder is not None:
            raise ConfigError([f"--cache {folder}: can't be written to ({exc.strerror}); give another."]) from exc
        note(
            f"warning: {place}: can't be written to ({exc.strerror}), so no score is kept; --cache names another place."
        )
        return None
    return Cache(place)


def _ended(evaluation: Evaluation) -> int:
    if not evaluation.failures:
        return 0
    note(f"error: {len(evaluation.failures)} outputs break their contract; the table of failures says how.")
    return 1


def _metrics(names: list[str] | None) -> tuple[Metric, ...]:
    from timbre_restore.metrics import by_name

    try:
        return by_name(names or ["default"])
    except ValueError as exc:
        raise ConfigError([f"--metric: {exc}"]) from exc


def _items(pairs: Path | None, list_file: Path | None, recordings: Path | None) -> list[Item]:
    from timbre_restore.evaluation import items_from_list, items_from_pairs, items_from_recordings

    readers = ((items_from_pairs, pairs), (items_from_list, list_file), (items_from_recordings, recordings))
    given = [(read, place) for read, place in readers if place is not None]
    if len(given) != 1:
        raise ConfigError(
            ["evaluate: expected one of --pairs DIR, --list FILE and --recordings DIR; give what is to be scored."]
        )
    ((read, place),) = given
    return read(place)


def _restoring(models: list[str] | None, strength: float | None, inside: SuppressorSettings | None) -> list[System]:
    """The packaged voice, or one model called `restored`, or several by name."""
    from timbre_restore.evaluation import Restoring

    given = models or [""]
    named = [_named(text) for text in given]
    if len(given) > 1 and any(name == "" for name, _ in named):
        raise ConfigError(["--model: several models need names; expected NAME=FILE for each."])
    found = [Restoring.of(name or "restored", place or None, strength, inside) for name, place in named]
    for restoring in found:
        if inside is not None and restoring.inside is None:
            note(
                f"note: {restoring.name} was trained for another suppressor than {inside.name}, so it works behind it, "
                "as behind a black box."
            )
    return list(found)


def _named(text: str) -> tuple[str, str]:
    """'NAME=FILE' in two; a file may be called so itself."""
    name, equals, place = text.partition("=")
    return (name, place) if equals and not Path(text).exists() else ("", text)


def _limited(text: str, floor_db: float, inside: SuppressorSettings | None) -> list[System]:
    """Limits to stand beside; of a suppressor with a limit of its own those that are lower."""
    from timbre_restore.evaluation import DFN3, Limited

    if text and inside is not None and inside.name != DFN3:
        note(f"note: {inside.name} has no attenuation limit, so none stands beside it.")
        return []

    found: list[System] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        with suppress(ValueError):
            if 0.0 < float(word) <= 100.0:
                found += [Limited(float(word), floor_db)] if float(word) < floor_db else []
                continue
        raise ConfigError([f"--limits: expected numbers of dB above 0 and at most 100, got '{word}'."])
    return found


def _folders(texts: list[str] | None, items: list[Item]) -> list[System]:
    from timbre_restore.evaluation import Folder

    stems = [item.stem for item in items]
    return [Folder.of(*named_folder(text), stems) for text in texts or ()]


def _home() -> Path:
    """Where programs keep what may be deleted (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "timbre-restore" / "evaluate"
