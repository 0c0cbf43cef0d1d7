"""Options that every verb shares, and the configuration they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Strength = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, help="From 0, the suppressor alone, to 1; the model's own choice without it.", metavar="0…1"
    ),
]

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
