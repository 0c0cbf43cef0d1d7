"""Files appear whole or not at all: write beside the target, then rename over it.

A rename within one folder is atomic on POSIX and on NTFS, so a reader (or the same command after a crash) never
sees half a file. The temporary name carries machine and process: two writers of one file can't tear each other's.
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
"""Another machine's processes can't be asked after; what none of them has written to for a day is nobody's."""
_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.([0-9a-f]{8})\.(\d{1,9})\.tmp(\..*)?")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without an error, and vanishes otherwise.

    The suffix of `path` stays last, because encoders choose the format by it. Folders are made for it, and vanish
    with it. A link stays: the file that it leads to is replaced, and its permissions stay as they were. Raises
    `OSError` for what is there and no file.
    """
    if blocked(path):
        raise OSError(errno.EEXIST, "is there and no file, so that none can take its place", str(path))
    real = real_place(path)
    temporary = real.with_name(_temporary_name(real.name, path.suffix))
    with folder_for_files(real.parent):
        try:
            yield temporary
            with suppress(OSError):  # nothing is there yet, or nothing that has such permissions
                shutil.copymode(real, temporary)
            os.replace(temporary, real)
        finally:
            temporary.unlink(missing_ok=True)


def refused(folder: Path) -> str:
    """Why no file can be made in a folder, in the system's words; nothing where one can."""
    trial = folder / _temporary_name("trial", "")
    try:
        trial.touch()
        trial.unlink()
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""


def blocked(path: Path) -> bool:
    """Whether a folder, pipe, device or socket is there, in whose place a rename may not put a file."""
    return path.exists() and not path.is_file()


def real_place(path: Path) -> Path:
    """Where a file written as `path` lies in truth: the end of a link, which need not be there yet."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def folder_for_files(folder: Path) -> Iterator[None]:
    """`folder` is there in the block; what had to be made of it and the folders above stays unless it stays empty."""
    made = list(takewhile(lambda place: not place.exists(), (folder, *folder.parents)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for place in made:
            with suppress(OSError):  # it holds something, or was never made
                place.rmdir()


def _temporary_name(name: str, suffix: str) -> str:
    """Hidden, of this process and this target, and short: the target's own name may be as long as names can be."""
    tag = hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
    return f".{tag}.{_machine()}.{os.getpid()}.tmp{suffix if len(suffix) <= LONGEST_SUFFIX else ''}"


def sweep(folder: Path) -> None:
    """Remove the temporary files in `folder` whose writers were killed; those of processes that live stay.

    What can't be removed stays too: it may be another user's.
    """
    for path in folder.glob(".*.tmp*"):
        found = _TEMPORARY.fullmatch(path.name)
        with suppress(OSError):
            if found and not (_lives(int(found[2])) if found[1] == _machine() else _is_fresh(path)):
                path.unlink()


@cache
def _machine() -> str:
    """Where process numbers mean what they mean here: on this machine, and in this container on it."""
    place = socket.gethostname()
    with suppress(OSError):  # where the system has no such thing
        place += str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def _is_fresh(path: Path) -> bool:
    return time.time() - path.stat().st_mtime < FORSAKEN_S


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives, and is another user's
        return True
    return True


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` by rename."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text with '\\n' line ends to `path` by rename."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON (sorted keys, so that equal content is equal bytes) to `path` by rename."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
