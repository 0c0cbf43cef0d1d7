"""What is there: recordings of each source, noises and rooms, in an order that no disk decides."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from timbre_restore.audio import AUDIO_SUFFIXES
from timbre_restore.corpus.spec import SourceSpec
from timbre_restore.errors import CorpusError

# Endings that tell apart channels of one measurement, or cuts of one clip.
_CHANNEL = re.compile(r"(^|[._-])(ch(annel)?_?\d+|left|right|[lr])$|-[A-Z]$", re.IGNORECASE)
_CLIP_LETTER = re.compile(r"-[A-Z]$")


@dataclass(frozen=True)
class Recording:
    """One file of clean speech."""

    source: int
    relative: str
    """Path below its source, with '/'."""
    speaker: str

    @property
    def stem(self) -> str:
        """File name without suffix."""
        return Path(self.relative).stem


@dataclass(frozen=True)
class Sound:
    """One noise or room."""

    relative: str
    """Path below its folder, with '/'."""

    @property
    def group(self) -> str:
        """What the file belongs to: channels of one measurement share it, and so stay on one side of the split."""
        path = Path(self.relative)
        stem = _CLIP_LETTER.sub("", path.stem)
        return f"{path.parent.as_posix()}/{_CHANNEL.sub('', stem)}"

    def matches(self, patterns: Sequence[str]) -> bool:
        """Whether a pattern names the file (without suffix) or a folder that it lies in."""
        path = Path(self.relative)
        return matches_any([path.stem, *path.parent.parts], patterns)


def matches_any(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether any name fits any pattern, letter case included."""
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def scan_source(index: int, source: SourceSpec, leave_out: Path) -> list[Recording]:
    """Every recording of a source, sorted. Files in the source's root count as one speaker."""
    found = [
        Recording(index, relative, Path(relative).parent.name or f"root{index}")
        for relative in _audio_files(source.path, source.pattern, leave_out)
    ]
    if not found:
        what = f"file that fits '{source.pattern}'" if source.pattern else "wav or flac file"
        raise CorpusError(f"{source.path}: holds no {what}; check data.sources.{index}.")
    return found


def scan_sounds(folder: Path, leave_out: Path) -> list[Sound]:
    """Every noise or room below `folder`, sorted."""
    return [Sound(relative) for relative in _audio_files(folder, None, leave_out)]


def _audio_files(root: Path, pattern: str | None, leave_out: Path) -> list[str]:
    """Paths below `root`, sorted by their text; hidden files and the corpus's own folder are left out."""
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder; create it or name another in the configuration.")
    excluded = os.path.realpath(leave_out)
    paths = []
    for folder, names in _walk(str(root), excluded, set()):
        for name in names:
            wanted = fnmatch.fnmatchcase(name, pattern) if pattern else name.lower().endswith(AUDIO_SUFFIXES)
            if wanted and not name.startswith("."):
                paths.append(Path(folder, name).relative_to(root).as_posix())
    return sorted(paths)


def _walk(folder: str, excluded: str, seen: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders and their files, links followed; a folder that was seen under another name is not entered again."""
    real = os.path.realpath(folder)
    if real in seen or real == excluded:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as exc:
        raise CorpusError(f"{folder}: can't be listed ({exc.strerror}); check its permissions.") from exc
    yield folder, [entry.name for entry in listed if entry.is_file()]
    for entry in listed:
        if not entry.name.startswith(".") and entry.is_dir():
            yield from _walk(entry.path, excluded, seen)
