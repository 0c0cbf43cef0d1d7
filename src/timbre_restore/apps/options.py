"""Options that the verbs share, and the configuration they produce."""

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
    typer.Option("--config", metavar="FILE", help="Configuration file; the built-in defaults apply without one."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key; the value is YAML. Repeatable."),
]
ModelFile = Annotated[
    Path | None,
    typer.Option("--model", metavar="ONNX", help="An exported model; defaults to the packaged one."),
]


def _strength(word: str) -> float:
    with suppress(ValueError):
        if 0.0 <= (value := float(word)) <= 1.0:  # false for NaN
            return value
    raise typer.BadParameter(f"expected a number from 0 to 1, got '{word}'.")


Strength = Annotated[
    float | None,
    typer.Option(
        parser=_strength,
        help="From 0 (the suppressor alone) to 1; defaults to the model's own value.",
        metavar="0…1",
    ),
]


def named_folder(word: str) -> tuple[str, Path]:
    """Split the 'NAME=DIR' of `--system` in two."""
    from timbre_restore.audio import is_text

    name, sign, folder = word.partition("=")
    if not (name and sign and folder) or re.search(r"[\x00-\x1f]", word) or not is_text(name):
        raise ConfigError([f"--system {word!r}: expected NAME=DIR, a name and the folder with its files."])
    return name, Path(folder).expanduser()


CORPUS_FOLDERS = ("data.sources", "data.noise_path", "data.ir_path")


def configure(config: Path | None, overrides: list[str] | None, *, folders: tuple[str, ...] = ()) -> Config:
    """The configuration of a verb: the file, then `--set` in order. Keys in `folders` must name existing folders."""
    return load_config(config, overrides or (), folders=folders)


def builtin_config(name: str) -> Path:
    """A configuration shipped with the project: in the installed package, or next to `src` in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "configs", package.parent.parent / "configs"):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError([f"configs/{name}: is missing from this installation; reinstall timbre-restore."])


def check_targets(targets: dict[str, Path | None]) -> None:
    """Create the folders of the output files, so that an unwritable place is reported before an hour of work.

    Checking permissions is not enough: not even root can write to `/proc` or to a read-only disk.
    """
    problems = []
    places: dict[Path, str] = {}
    for option, path in targets.items():
        if path is None or path == STDOUT:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            problems.append(f"{option} {path}: its folder can't be created ({exc.strerror}); give another path.")
            continue
        if (other := places.setdefault(path.resolve(), option)) != option:
            problems.append(f"{option} {path}: is also the file of {other}; give another path.")
        if path.is_dir():
            problems.append(f"{option} {path}: is a folder; give a file name.")
        elif blocked(path):
            problems.append(f"{option} {path}: is a pipe or a device; give a file name.")
        elif reason := refused(path.parent):
            problems.append(f"{option} {path}: its folder can't be written to ({reason}); give another path.")
    if problems:
        raise ConfigError(problems)
