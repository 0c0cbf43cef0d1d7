"""The state of a corpus folder: its settings, its locks, and markers of what is done.

All of it lies in `.state/`, so that everything else in the folder depends on the settings alone. A take's marker is
written after its files, a shard's after its takes: whatever a marker promises is there, however the process ended.
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
    """Where a corpus lies, and what is known about its making."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / ".state"

    def item(self, split: str, role: str, name: str, suffix: str) -> Path:
        """Where an item lies."""
        return self.root / split / role / f"{name}.{suffix}"

    def take_marker(self, identity: str) -> Path:
        """Where a take says that it is done. (Two levels, because a corpus may hold a hundred thousand.)"""
        return self.state / "takes" / identity[:2] / f"{identity}.json"

    def piece(self, identity: str) -> Path:
        """Where a take lies until it is joined with others to a part of a packed corpus."""
        return self.state / "pieces" / identity[:2] / f"{identity}{PACKED_SUFFIX}"

    def part(self, name: str) -> Path:
        """Where a part of a packed corpus lies."""
        return self.root / "packed" / f"{name}{PACKED_SUFFIX}"

    def part_marker(self, name: str) -> Path:
        """Where a part says which takes it holds."""
        return self.state / "parts" / f"{name}.json"

    def shard_marker(self, index: int, count: int) -> Path:
        """Where shard `index` of `count` says that it is done."""
        return self.state / "shards" / f"{index}-of-{count}.json"

    @contextmanager
    def folder_lock(self) -> Iterator[None]:
        """Held for moments, by whoever looks at locks or writes what all shards share."""
        lock = self._lock("folder")
        try:
            lock.acquire(timeout=FOLDER_WAIT_S)
        except Timeout as exc:
            raise LockedError(f"{self.root}: stays locked by another process; wait for it, or end it.") from exc
        with lock, ExitStack() as stack:
            stack.callback(lock.release)
            yield

    @contextmanager
    def shard_lock(self, index: int, count: int) -> Iterator[None]:
        """Held while shard `index` of `count` works. Refused to a second one, and while another count is at work."""
        own = self._lock(f"{index}-of-{count}")
        with self.folder_lock():
            _take(own, f"{self.root}: shard {index} of {count} is being prepared already; wait for it, or end it.")
            try:
                alone = self._look_around(own, count)
            except LockedError:
                own.release()
                raise
            if alone:
                self._remove_torn_files()
        try:
            yield
            with self.folder_lock():  # a machine of a cluster may have been lost on the way
                if self._look_around(own, count):
                    self._remove_torn_files()
        finally:
            own.release()

    def check_settings(self, settings: dict[str, Any], passes: int, *, force: bool) -> None:
        """Remember the settings, or refuse others than the folder was begun with, saying which differ.

        More passes only add; fewer are refused, because they would unlist what is there. `force` takes the new ones.
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
                        "choose another data.output_dir, or make it anew with --force."
                    )
            if known != given:
                write_json(path, given)

    def _lock(self, name: str) -> FileLock:
        folder = self.state / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise CorpusError(f"{folder}: can't be made ({exc.strerror}); check data.output_dir.") from exc
        return FileLock(folder / f"{name}.lock")

    def _look_around(self, own: FileLock, count: int) -> bool:
        """Whether nobody else works here; `LockedError` when somebody works on another number of shards."""
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
                        f"{self.root}: shard {path.stem.replace('-of-', ' of ')} is being prepared, and shards of "
                        f"another number can't run beside it; wait for it, or end it."
                    ) from exc
        return alone

    def _remove_torn_files(self) -> None:
        """Temporary files of a run that was killed. Only when nobody else is at work, whose they could be."""
        below = [self.root / split / role for split in SPLITS for role in ROLES]
        folders = [self.root, self.part("x").parent, *below]
        for folder in folders:
            for path in folder.glob(".*.tmp*"):
                path.unlink(missing_ok=True)
        for path in self.state.rglob(".*.tmp*"):
            path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a marker; None when there is none, or none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _differences(known: dict[str, Any], given: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Key, what is known and what is given, by name of the key; a section's own keys where only some differ."""
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
