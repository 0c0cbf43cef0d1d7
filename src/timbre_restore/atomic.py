"""Files appear whole or not at all: write beside the target, then rename over it.

A rename within one folder is atomic on POSIX and on NTFS, so a reader (or the same command after a crash) never
sees half a file. The temporary name carries the process id: two writers of equal content can't tear each other's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONGEST_SUFFIX = 16
_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.(\d{1,9})\.tmp(\..*)?")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without an error, and vanishes otherwise.

    The suffix of `path` stays last, because encoders choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_temporary_name(path))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_name(path: Path) -> str:
    """Hidden, of this process and this target, and short: the target's own name may be as long as names can be."""
    tag = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    suffix = path.suffix if len(path.suffix) <= LONGEST_SUFFIX else ""
    return f".{tag}.{os.getpid()}.tmp{suffix}"


def sweep(folder: Path) -> None:
    """Remove the temporary files in `folder` whose writers were killed; those of processes that live stay."""
    for path in folder.glob(".*.tmp*"):
        found = _TEMPORARY.fullmatch(path.name)
        if found and not _lives(int(found[1])):
            path.unlink(missing_ok=True)


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
