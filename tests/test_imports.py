"""The law of the house: arrows point one way, only apps read the configuration, nothing works at import, no torch
where sound is only restored."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.voices import RATE, noise, voice
from timbre_restore.audio import write_audio
from timbre_restore.errors import (
    AudioFileError,
    ConfigError,
    MissingExtraError,
    TimbreRestoreError,
    TrainingInterrupted,
)

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "timbre_restore"
LEVELS = (
    {"errors", "atomic", "pages", "processes", "strict_yaml", "student", "weights"},
    {"config", "audio"},
    {"suppressors", "losses", "metrics", "models"},
    {"corpus", "loading", "export", "runtime"},
    {"training", "evaluation", "audit", "listening"},
    {"apps"},
)
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
TORCH_FREE = (
    "audio",
    "suppressors",
    "metrics",
    "runtime",
    "corpus",
    "evaluation",
    "audit",
    "listening",
    "pages",
    "processes",
    "strict_yaml",
    "student",
    "weights",
)
HEAVY = ("torch", "accelerate", "tensorboard", "onnx")


def imports_of(source: str) -> set[str]:
    """Every module that a source names in an import, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the arrow"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_of(source: str) -> set[str]:
    parts = [name.split(".") for name in imports_of(source)]
    return {part[1] for part in parts if part[0] == "timbre_restore" and len(part) > 1 and part[1] in LEVEL}


def broken_laws(room: str, source: str) -> list[str]:
    """What a file of `room` may not import, and does."""
    broken = [f"{room} → {other}" for other in rooms_of(source) if other != room and LEVEL[other] >= LEVEL[room]]
    if room not in ("apps", "config") and "config" in rooms_of(source):
        broken.append(f"{room} reads the configuration")
    names = {name.split(".")[0] for name in imports_of(source)}
    if room in TORCH_FREE:
        broken += [f"{room} imports {name}" for name in names & {"torch", "accelerate", "scipy"}]
    return broken


def files() -> list[tuple[str, Path]]:
    return [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in sorted(PACKAGE.rglob("*.py"))]


def test_every_room_has_its_place() -> None:
    assert {room for room, _ in files()} - {"__init__"} == set(LEVEL)


@pytest.mark.parametrize("room", sorted(LEVEL))
def test_arrows_point_one_way(room: str) -> None:
    for own, path in files():
        if own == room:
            assert broken_laws(room, path.read_text(encoding="utf-8")) == [], path


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("audio", "from timbre_restore.corpus import prepare"),
        ("metrics", "def f():\n    from timbre_restore import models"),
        ("training", "from timbre_restore.evaluation import evaluate"),
        ("audit", "from timbre_restore.training import time_steps"),
        ("listening", "from timbre_restore.evaluation import evaluate"),
        ("corpus", "import timbre_restore.config"),
        ("runtime", "def f():\n    import torch.nn"),
    ],
)
def test_the_law_would_be_noticed(room: str, source: str) -> None:
    assert broken_laws(room, source)


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


LOOK = """
import json, os, sys, threading
before = dict(os.environ)
import importlib
importlib.import_module(sys.argv[1])
report = {"loaded": [name for name in sys.argv[2].split() if name in sys.modules],
          "environment": dict(os.environ) == before, "threads": threading.active_count()}
sys.stderr.write("REPORT" + json.dumps(report))
"""


@pytest.mark.parametrize(
    "module",
    ["", "audio", "suppressors", "metrics", "corpus", "runtime", "evaluation", "audit", "listening", "apps.cli"],
)
def test_imports_stay_light_and_silent(module: str) -> None:
    name = f"timbre_restore.{module}".rstrip(".")
    done = run(LOOK, name, " ".join((*HEAVY, "scipy", "matplotlib", "pyopenjtalk", "pystoi", "pesq")))
    said, _, report = done.stderr.partition("REPORT")
    assert done.returncode == 0, done.stderr
    assert (said, done.stdout) == ("", "")
    assert json.loads(report) == {"loaded": [], "environment": True, "threads": 1}


def test_rooms_with_torch_set_nothing_at_import() -> None:
    code = """
import os, torch
torch.manual_seed(3)
before = (dict(os.environ), torch.get_num_threads(), torch.get_rng_state().tolist(), torch.get_default_dtype())
import timbre_restore.export, timbre_restore.loading, timbre_restore.losses, timbre_restore.models
import timbre_restore.training
assert before == (dict(os.environ), torch.get_num_threads(), torch.get_rng_state().tolist(), torch.get_default_dtype())
"""
    # Other people's packages may warn at their import; ours may not print.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


VERB = """
import sys
from timbre_restore.apps.cli import main
status = main(sys.argv[2:])
loaded = [name for name in sys.argv[1].split() if name in sys.modules]
assert not loaded, loaded
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("line", "status"),
    [(["--help"], 0), (["restore", "--help"], 0), (["prepare", "--set", "seeds=1"], 2), (["audit", "/nowhere"], 1)],
)
def test_verbs_without_networks_never_load_torch(line: list[str], status: int) -> None:
    done = run(VERB, " ".join(HEAVY), *line)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


def test_restoring_never_loads_torch(tmp_path: Path, small_model: Path) -> None:
    """With the real suppressor and a real model, on a file. onnx is there to open the suppressor's graphs."""
    write_audio(tmp_path / "noisy.wav", voice(2) + noise(2), RATE)
    done = run(
        VERB, " ".join(("torch", "accelerate", "tensorboard", "scipy", "matplotlib")),
        "restore", str(tmp_path / "noisy.wav"), "-o", str(tmp_path / "out.wav"), "--model", str(small_model),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.wav").exists()


def test_doors_are_thin() -> None:
    for door in ("train.py", "data/prepare_dataset.py", "data/dataset.py"):
        statements = ast.parse((ROOT / door).read_text(encoding="utf-8")).body
        assert len(statements) <= 4, door
        assert os.access(ROOT / door, os.R_OK)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError(["one", "two"]),
        TrainingInterrupted("stopped", 15),
        MissingExtraError("torch", "pip install torch", "training"),
        AudioFileError("x.wav: no such file."),
    ],
)
def test_an_error_comes_out_of_a_process_as_it_was(error: TimbreRestoreError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and again.exit_code == error.exit_code
