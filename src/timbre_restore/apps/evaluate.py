"""The `evaluate` command: noisy input, the suppressor, attenuation limits and restorers, side by side."""

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
        Path | None, typer.Option(metavar="DIR", help="Folder with noisy/ and clean/, holding files of the same names.")
    ] = None,
    list_file: Annotated[
        Path | None, typer.Option("--list", metavar="FILE", help="A corpus list with lines 'degraded|clean'.")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of noisy recordings without clean counterparts.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]ONNX", help="An exported model; defaults to the packaged one. Repeatable."),
    ] = None,
    strength: Strength = None,
    system: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Outputs of another system, named like the items; repeatable."),
    ] = None,
    limits: Annotated[
        str, typer.Option(metavar="DB,DB,…", help="Attenuation limits of the suppressor to compare with; '' for none.")
    ] = LIMITS,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="KEY", help="A metric, or a set: core, default, more, all; repeatable."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Worker processes; 0 means one per core.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where scores are cached; defaults to the user's cache folder.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the score cache.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the scores as JSON; '-' is stdout.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an HTML page to read and listen to.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> int:
    """Score noisy, degraded and restored."""
    settings = settings_of(configure(config, overrides))
    metrics = _metrics(metric)
    items = _items(pairs, list_file, recordings)
    check_targets({"--json": json, "--html": html})
    if html is not None and importlib.util.find_spec("matplotlib") is None:
        # Report this before an hour of scoring, not after it.
        raise MissingExtraError("matplotlib", extra_command("eval"), "--html")
    from timbre_restore.evaluation import Suppressing, as_json, files_beside, summary_table, write_page
    from timbre_restore.evaluation import evaluate as score

    if html is not None and (beside := files_beside(html)).exists() and not beside.is_dir():
        raise ConfigError(
            [f"--html {html}: what does not fit into the page goes to a folder {beside}, but that is a file; move it."]
        )

    # If every item is suppressed here, the restorer works inside the suppressor, as it does in a call.
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
    """The cache in the requested folder, or in the user's cache; None if the latter can't be written to."""
    from timbre_restore.evaluation import Cache

    place = folder or _home()
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as exc:
        if folder is not None:
            raise ConfigError([f"--cache {folder}: can't be written to ({exc.strerror}); choose another."]) from exc
        note(
            f"warning: {place}: can't be written to ({exc.strerror}), so no scores are cached; choose another folder "
            "with --cache."
        )
        return None
    return Cache(place)


def _ended(evaluation: Evaluation) -> int:
    if not evaluation.failures:
        return 0
    note(f"error: {len(evaluation.failures)} outputs break their contract; see the table of failures.")
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
            ["evaluate: expected one of --pairs DIR, --list FILE and --recordings DIR; give exactly one of them."]
        )
    ((read, place),) = given
    return read(place)


def _restoring(models: list[str] | None, strength: float | None, inside: SuppressorSettings | None) -> list[System]:
    """The packaged voice or a single model, called `restored`, or several models by name."""
    from timbre_restore.evaluation import Restoring

    given = models or [""]
    named = [_named(text) for text in given]
    if len(given) > 1 and any(name == "" for name, _ in named):
        raise ConfigError(["--model: several models must be named; give each as NAME=FILE."])
    found = [Restoring.of(name or "restored", place or None, strength, inside) for name, place in named]
    for restoring in found:
        if inside is not None and restoring.inside is None:
            note(
                f"note: {restoring.name} was trained for another suppressor than {inside.name}, so it runs behind it, "
                "as behind a black box."
            )
    return list(found)


def _named(text: str) -> tuple[str, str]:
    """Split 'NAME=FILE' in two, unless the whole text is the name of an existing file."""
    name, equals, place = text.partition("=")
    return (name, place) if equals and not Path(text).exists() else ("", text)


def _limited(text: str, floor_db: float, inside: SuppressorSettings | None) -> list[System]:
    """The limits to compare with; if the suppressor has a limit of its own, only those below it."""
    from timbre_restore.evaluation import DFN3, Limited

    if text and inside is not None and inside.name != DFN3:
        note(f"note: {inside.name} has no attenuation limit, so none is compared.")
        return []

    found: list[System] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        with suppress(ValueError):
            if 0.0 < float(word) <= 100.0:
                found += [Limited(float(word), floor_db)] if float(word) < floor_db else []
                continue
        raise ConfigError([f"--limits: expected values in dB above 0 and at most 100, got '{word}'."])
    return found


def _folders(texts: list[str] | None, items: list[Item]) -> list[System]:
    from timbre_restore.evaluation import Folder

    stems = [item.stem for item in items]
    return [Folder.of(*named_folder(text), stems) for text in texts or ()]


def _home() -> Path:
    """The user's cache folder for this program (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "timbre-restore" / "evaluate"
