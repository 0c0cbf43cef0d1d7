"""A test's folder belongs to one server at a time, which a kill lets go of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from timbre_restore.errors import ListeningError

LOCK_FILE = ".serving.lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody serves `folder` meanwhile. Raises `ListeningError` when somebody does."""
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise ListeningError(
            f"{folder}: is served by another process already; use its address, or stop it first."
        ) from exc
    try:
        yield
    finally:
        lock.release()
