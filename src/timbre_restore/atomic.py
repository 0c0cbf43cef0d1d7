"""Files appear whole or not at all: write next to the target, then rename over it.

A rename within one folder is atomic on POSIX and on NTFS, so a reader (or the same command after a crash) never
sees half a file. The temporary name contains machine and process, so two writers of one file can't interfere.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

LONGEST_SUFFIX = 16
FORSAKEN_S = 86_400.0
"""Processes on other machines can't be checked; a temporary file of theirs unmodified for a day counts as abandoned."""
_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.([0-9a-f]{8})\.(\d{1,9})\.tmp(\..*)?")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without an error, and vanishes otherwise.

    The temporary path keeps the suffix of `path`, because encoders choose the format by it. Missing folders are
    created, and removed again on failure. A symbolic link stays: the file it points to is replaced, and that file's
    permissions are kept. Raises `OSError` when `path` exists and is not a regular file.
    """
    if blocked(path):
        raise OSError(errno.EEXIST, "exists and is not a regular file, so it can't be replaced", str(path))
    real = real_place(path)
    temporary = real.with_name(_temporary_name(real.name, path.suffix))
    with folder_for_files(real.parent):
        try:
            if real.exists():  # what replaces a private file is private while it is written
                temporary.touch(mode=0o600)
            yield temporary
            with suppress(OSError):  # no file there yet, or permissions are not supported
                shutil.copymode(real, temporary)
            os.replace(temporary, real)
        finally:
            temporary.unlink(missing_ok=True)


def refused(folder: Path) -> str:
    """Why no file can be created in `folder`, as the system says it; empty when one can."""
    trial = folder / _temporary_name("trial", "")
    try:
        trial.touch()
        trial.unlink()
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""


def blocked(path: Path) -> bool:
    """Whether `path` is a folder, pipe, device or socket, which a rename must not replace with a file."""
    return path.exists() and not path.is_file()


def real_place(path: Path) -> Path:
    """Where a file written as `path` really ends up: the target of a link, which need not exist yet."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def folder_for_files(folder: Path) -> Iterator[None]:
    """Make sure `folder` exists in the block; folders created for that are removed afterwards if they are empty."""
    made = list(takewhile(lambda place: not place.exists(), (folder, *folder.parents)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for place in made:
            with suppress(OSError):  # not empty, or never created
                place.rmdir()


def _temporary_name(name: str, suffix: str) -> str:
    """Hidden, specific to process and target, and short: the target's own name may have the maximum length."""
    tag = hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
    return f".{tag}.{_machine()}.{os.getpid()}.tmp{suffix if len(suffix) <= LONGEST_SUFFIX else ''}"


def sweep(folder: Path) -> None:
    """Remove temporary files in `folder` whose writers were killed; those of live processes stay.

    Files that can't be removed stay too: they may belong to another user.
    """
    for path in folder.glob(".*.tmp*"):
        found = _TEMPORARY.fullmatch(path.name)
        with suppress(OSError):
            if found and not (_lives(int(found[2])) if found[1] == _machine() else _is_fresh(path)):
                path.unlink()


@cache
def _machine() -> str:
    """Identifies where process ids are comparable to ours: this machine, and this container on it."""
    place = socket.gethostname()
    with suppress(OSError):  # not available on every system
        place += str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def _is_fresh(path: Path) -> bool:
    return time.time() - path.stat().st_mtime < FORSAKEN_S


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # alive, but another user's
        return True
    return True


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text with '\\n' line ends to `path` atomically."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON (sorted keys, so that equal content gives equal bytes) to `path` atomically."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
