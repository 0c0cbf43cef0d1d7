"""Options that every verb shares, and the configuration they make."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from timbre_restore.apps.console import STDOUT
from timbre_restore.atomic import blocked, refused
from timbre_restore.config import Config, load_config
from timbre_restore.errors import ConfigError

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Configuration file; the built-in defaults without it."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, the value as YAML; may be given again."),
]
ModelFile = Annotated[
    Path | None,
    typer.Option("--model", metavar="ONNX", help="An exported model; the packaged one without it."),
]


def _strength(word: str) -> float:
    with suppress(ValueError):
        if 0.0 <= (value := float(word)) <= 1.0:  # which NaN is not
            return value
    raise typer.BadParameter(f"expected a number from 0 to 1, got '{word}'.")


Strength = Annotated[
    float | None,
    typer.Option(
        parser=_strength,
        help="From 0, the suppressor alone, to 1; the model's own choice without it.",
        metavar="0…1",
    ),
]


def named_folder(word: str) -> tuple[str, Path]:
    """'NAME=DIR' of `--system` in two."""
    name, sign, folder = word.partition("=")
    if not (name and sign and folder) or re.search(r"[\x00-\x1f]", word):
        raise ConfigError([f"--system {word!r}: expected NAME=DIR, a name and the folder of its files."])
    return name, Path(folder).expanduser()


CORPUS_FOLDERS = ("data.sources", "data.noise_path", "data.ir_path")


def configure(config: Path | None, overrides: list[str] | None, *, folders: tuple[str, ...] = ()) -> Config:
    """The configuration of a verb: file, then `--set` in order. `folders` names keys whose folders must exist."""
    return load_config(config, overrides or (), folders=folders)


def builtin_config(name: str) -> Path:
    """A configuration that comes with the project: in the installed package, or beside a checkout's `src`."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "configs", package.parent.parent / "configs"):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError([f"configs/{name}: is missing from this installation; install timbre-restore again."])


def check_targets(targets: dict[str, Path | None]) -> None:
    """Make the folders of the files to be written: what can't be written is said before an hour of work.

    Rights alone don't tell: who has all of them can't write into `/proc`, nor onto a disk that is read-only.
    """
    problems = []
    places: dict[Path, str] = {}
    for option, path in targets.items():
        if path is None or path == STDOUT:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            problems.append(f"{option} {path}: its folder can't be made ({exc.strerror}); give another place.")
            continue
        if (other := places.setdefault(path.resolve(), option)) != option:
            problems.append(f"{option} {path}: is the file of {other} too; give another place.")
        if path.is_dir():
            problems.append(f"{option} {path}: is a folder; give the name of a file.")
        elif blocked(path):
            problems.append(f"{option} {path}: is a pipe or a device; give the name of a file.")
        elif reason := refused(path.parent):
            problems.append(f"{option} {path}: its folder can't be written to ({reason}); give another place.")
    if problems:
        raise ConfigError(problems)
