"""The state of a corpus folder: its settings, locks, and markers of finished work.

All of it is in `.state/`, so that everything else in the folder depends only on the settings. A take's marker is
written after its files, a shard's after its takes: whatever a marker promises exists, however the process ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from timbre_restore.atomic import write_json
from timbre_restore.audio import PACKED_SUFFIX
from timbre_restore.corpus.planning.split import SPLITS
from timbre_restore.errors import CorpusError, LockedError

AUDIO_ROLES = ("degraded", "clean", "noisy")
ROLES = (*AUDIO_ROLES, "hints")
FOLDER_WAIT_S = 600.0


class CorpusFolder:
    """The layout of a corpus folder and its state."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / ".state"

    def item(self, split: str, role: str, name: str, suffix: str) -> Path:
        """The path of one signal of an item."""
        return self.root / split / role / f"{name}.{suffix}"

    def take_marker(self, identity: str) -> Path:
        """The marker of a finished take. (Two folder levels, because a corpus may hold a hundred thousand takes.)"""
        return self.state / "takes" / identity[:2] / f"{identity}.json"

    def piece(self, identity: str) -> Path:
        """The packed items of one take, until they are joined with others into a part."""
        return self.state / "pieces" / identity[:2] / f"{identity}{PACKED_SUFFIX}"

    def part(self, name: str) -> Path:
        """The path of a part of a packed corpus."""
        return self.root / "packed" / f"{name}{PACKED_SUFFIX}"

    def part_marker(self, name: str) -> Path:
        """The marker that says which takes a part contains."""
        return self.state / "parts" / f"{name}.json"

    def shard_marker(self, index: int, count: int) -> Path:
        """The marker of finished shard `index` of `count`."""
        return self.state / "shards" / f"{index}-of-{count}.json"

    @contextmanager
    def folder_lock(self) -> Iterator[None]:
        """Held briefly by whoever inspects locks or writes what all shards share."""
        lock = self._lock("folder")
        try:
            lock.acquire(timeout=FOLDER_WAIT_S)
        except Timeout as exc:
            raise LockedError(f"{self.root}: is still locked by another process; wait for it, or end it.") from exc
        with lock, ExitStack() as stack:
            stack.callback(lock.release)
            yield

    @contextmanager
    def shard_lock(self, index: int, count: int) -> Iterator[None]:
        """Held while shard `index` of `count` works. Raises `LockedError` if it, or another count, is running."""
        own = self._lock(f"{index}-of-{count}")
        with self.folder_lock():
            _take(own, f"{self.root}: shard {index} of {count} is already being prepared; wait for it, or end it.")
            try:
                alone = self._look_around(own, count)
            except LockedError:
                own.release()
                raise
            if alone:
                self._remove_torn_files()
        try:
            yield
            with self.folder_lock():  # a machine of a cluster may have been lost meanwhile
                if self._look_around(own, count):
                    self._remove_torn_files()
        finally:
            own.release()

    def check_settings(self, settings: dict[str, Any], passes: int, *, force: bool) -> None:
        """Store the settings. Raises `CorpusError` that names the differences when the folder was started with others.

        More passes only add; fewer are refused, because existing items would drop out of the lists. `force` accepts the
        new settings.
        """
        path = self.state / "settings.json"
        with self.folder_lock():
            known = read_json(path)
            given = {**settings, "passes": passes}
            if known is not None and not force:
                differing = [f"{key}: {old!r} there, {new!r} now" for key, old, new in _differences(known, given)]
                if differing:
                    raise CorpusError(
                        f"{self.root}: was prepared with other settings ({'; '.join(differing)}); set them back, "
                        "choose another data.output_dir, or remake it with --force."
                    )
            if known != given:
                write_json(path, given)

    def _lock(self, name: str) -> FileLock:
        folder = self.state / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise CorpusError(f"{folder}: can't be created ({exc.strerror}); check data.output_dir.") from exc
        return FileLock(folder / f"{name}.lock")

    def _look_around(self, own: FileLock, count: int) -> bool:
        """Whether no other process works here. Raises `LockedError` when one works on another number of shards."""
        alone = True
        for path in sorted((self.state / "locks").glob("*-of-*.lock")):
            if path == Path(own.lock_file):
                continue
            other = FileLock(path)
            try:
                other.acquire(timeout=0)
                other.release()
            except Timeout as exc:
                alone = False
                if not path.stem.endswith(f"-of-{count}"):
                    raise LockedError(
                        f"{self.root}: shard {path.stem.replace('-of-', ' of ')} is being prepared, and another "
                        f"number of shards can't run at the same time; wait for it, or end it."
                    ) from exc
        return alone

    def _remove_torn_files(self) -> None:
        """Remove temporary files of a killed run. Only safe while no other process works here."""
        below = [self.root / split / role for split in SPLITS for role in ROLES]
        folders = [self.root, self.part("x").parent, *below]
        for folder in folders:
            for path in folder.glob(".*.tmp*"):
                path.unlink(missing_ok=True)
        for path in self.state.rglob(".*.tmp*"):
            path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a marker; None when it is missing or invalid."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _differences(known: dict[str, Any], given: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, stored, given), sorted by key; the keys inside a section where only some of them differ."""
    found = []
    for key in sorted(known.keys() | given.keys()):
        old, new = known.get(key), given.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [(f"{key}.{inner}", before, now) for inner, before, now in _differences(old, new)]
        elif old != new and not (key == "passes" and isinstance(old, int) and old <= given[key]):
            found.append((key, old, new))
    return found


def _take(lock: FileLock, refusal: str) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise LockedError(refusal) from exc
