"""The code version of a run, stored in every checkpoint so that a figure can be traced to the code that produced it."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

import timbre_restore

LONGEST_S = 5.0
"""Time limit for git: a folder on a slow disk must not hold up a run."""


@cache
def code_state() -> dict[str, Any]:
    """Versions and, in a checkout, the commit and whether the package differs from it; None if git can't tell.

    The imported code stays as it was when the run started, so the first result is cached.
    """
    commit, changed = _checkout(Path(timbre_restore.__file__).resolve().parent)
    return {
        "version": timbre_restore.__version__,
        "commit": commit,
        "uncommitted_changes": changed,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _checkout(package: Path) -> tuple[str | None, bool | None]:
    """Commit, and whether a file of `package` is changed or new; None for both if it is not in a checkout."""
    root = package.parent.parent
    # An installed package may be inside an unrelated repository, whose commit says nothing about it.
    if package.parent.name != "src" or not (root / ".git").exists():
        return None, None
    # The environment must not point git elsewhere, and git must not write its index.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(package), "status", "--porcelain=v2", "--branch", "--", "."]
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=LONGEST_S, check=True,
            env=plain | {"GIT_OPTIONAL_LOCKS": "0"}, stdin=subprocess.DEVNULL,
        ).stdout.splitlines()  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        return None, None
    heads = [line.split()[-1] for line in said if line.startswith("# branch.oid ")]
    commit = heads[0] if heads and heads[0] != "(initial)" else None
    return commit, any(not line.startswith("#") for line in said)
