"""Ensures that only one server uses a test's folder at a time; the lock is released even if the server is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from timbre_restore.errors import ListeningError

LOCK_FILE = ".serving.lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock on `folder`, so that no other process serves it. Raises `ListeningError` if one does."""
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise ListeningError(
            f"{folder}: is already served by another process; use its address, or stop it first."
        ) from exc
    try:
        yield
    finally:
        lock.release()
