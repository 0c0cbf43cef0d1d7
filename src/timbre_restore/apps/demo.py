"""The `demo` command: the whole workflow, without data or network. It runs the other verbs and prints their lines."""

from __future__ import annotations

import importlib.util
import shlex
import time
from pathlib import Path
from typing import Annotated

import typer
import yaml

from timbre_restore import atomic
from timbre_restore.apps.console import note, say
from timbre_restore.apps.options import ConfigFile, Overrides, builtin_config, configure
from timbre_restore.errors import CorpusError, MissingExtraError, extra_command

PACKAGES = ("torch", "accelerate", "safetensors", "onnx", "matplotlib")
WARNING = (
    "This is a demonstration, not a model to ship: a few minutes of training on a few synthetic voices. It shows that "
    "the whole workflow runs, not what the restorer can do."
)


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Output folder.")] = Path("demo-out"),
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> int:
    """Run the whole workflow in a few minutes."""
    _check_packages()
    started = time.monotonic()
    own = _write_config(out, config or builtin_config("demo.yaml"))
    settings = configure(own, overrides)
    note(WARNING)
    _make_sounds(out / "sounds")
    model, page = out / "model.onnx", out / "listen.html"
    pairs = out / "sounds" / "pairs"
    first = sorted((pairs / "noisy").iterdir())[0]
    common = _told(own, overrides or [])
    heard = _told(own, [key for key in overrides or [] if key.startswith("suppressor")])  # restore rejects the rest
    for line in (
        ["prepare", "--skip-existing", *common],
        ["train", *common],
        ["export", str(settings.training.output_dir), "--output", str(model), *common],
        ["evaluate", "--pairs", str(pairs), "--model", str(model), "--limits", "24",
         "--json", str(out / "scores.json"), "--html", str(page), *common],
        ["restore", str(first), "--output", str(out / "restored.wav"), "--model", str(model), *heard],
    ):  # fmt: skip
        status = _run(line)
        if status:
            note(f"the demonstration stops here; what was made so far is in {out}")
            return status
    say(f"done in {time.monotonic() - started:.0f} s; open {page.resolve()} and listen.")
    say(WARNING)
    return 0


def _told(config: Path, overrides: list[str]) -> list[str]:
    """The options that every verb is given."""
    return ["--config", str(config), *(word for override in overrides for word in ("--set", override))]


def _run(line: list[str]) -> int:
    """Run one verb as a user would type it."""
    from timbre_restore.apps.cli import main

    note(f"\n$ timbre-restore {shlex.join(line)}")
    return main(line)


def _check_packages() -> None:
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra_command("train", "eval", "demo"), "the demonstration")


def _write_config(out: Path, base: Path) -> Path:
    """The demonstration's own configuration: `base`, plus the places of its sounds and results."""
    from timbre_restore.apps.demo_corpus import HELD_OUT

    path = out / "demo.yaml"
    if out.exists() and not path.exists() and any(out.iterdir()):
        raise CorpusError(f"{out}: holds files that are not from a demonstration; give another folder with --out.")
    here = out.resolve()
    content = {
        "base": str(base.resolve()),
        "data": {
            "sources": [{"path": str(here / "sounds" / "speech")}],
            "noise_path": str(here / "sounds" / "noise"),
            "ir_path": str(here / "sounds" / "rooms"),
            "output_dir": str(here / "corpus"),
            **HELD_OUT,
        },
        "training": {"output_dir": str(here / "run")},
    }
    atomic.write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path


def _make_sounds(folder: Path) -> None:
    from timbre_restore.apps.demo_corpus import make_sounds
    from timbre_restore.apps.demo_speech import has_offline_voice

    note("\nmaking speech, noises and rooms")
    if not has_offline_voice():
        note(
            "pyopenjtalk-plus is not installed, so a synthetic voice babbles; for real sentences run: "
            "pip install pyopenjtalk-plus"
        )
    make_sounds(folder)
