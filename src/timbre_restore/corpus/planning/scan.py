"""Finding recordings, noises and rooms, in an order that does not depend on the disk."""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from timbre_restore.audio import AUDIO_SUFFIXES, read_info
from timbre_restore.corpus.spec import SourceSpec
from timbre_restore.errors import AudioFileError, CorpusError

# Name endings that distinguish channels of one measurement or cuts of one clip: ESC-50's (with or without the class),
# those of Freesound clips in the DNS challenge, positions in one of SLR28's rooms.
_CHANNEL = re.compile(r"(^|[._-])(ch(annel)?_?\d+|left|right|[lr])$|-[A-Z]$", re.IGNORECASE)
_CUT = re.compile(r"-[A-Z](?:-\d+)?$|(_Freesound_validated_\d+)_\d+$|(^Room\d+)-\d+$")
_OTHER_SOUNDS = (
    ".aac", ".aif", ".aiff", ".au", ".caf", ".m4a", ".mp2", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".w64", ".wma",
)  # fmt: skip
_READERS = 8  # threads: reading headers is waiting, not computing


@dataclass(frozen=True)
class Recording:
    """One file of clean speech."""

    source: int
    relative: str
    """Path relative to its source, with '/'."""
    speaker: str
    rate_hz: int = 0
    """0 when the header could not be read; rendering reports why."""
    samples: int = 0

    @property
    def stem(self) -> str:
        """File name without suffix."""
        return Path(self.relative).stem


@dataclass(frozen=True)
class SourceFile:
    """One noise or room."""

    relative: str
    """Path relative to its folder, with '/'."""

    @property
    def group(self) -> str:
        """The file's group: channels of one measurement and cuts of one clip share it, and stay on one side."""
        path = Path(self.relative)
        stem = _CUT.sub(lambda found: found[1] or found[2] or "", path.stem)
        return f"{path.parent.as_posix()}/{_CHANNEL.sub('', stem)}"

    def matches(self, patterns: Sequence[str]) -> bool:
        """Whether a pattern matches the file name (without suffix) or one of its folders."""
        path = Path(self.relative)
        return matches_any([path.stem, *path.parent.parts], patterns)


def matches_any(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether any name matches any pattern, case-sensitively."""
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def scan_source(index: int, source: SourceSpec, leave_out: Path, warnings: list[str] | None = None) -> list[Recording]:
    """Every recording of a source, sorted, with rate and length. Files directly in its root count as one speaker.

    A warning is appended to `warnings` when files of other audio formats are left out.
    """
    others: list[str] = []
    names = _audio_files(source.path, source.pattern, leave_out, others)
    if not names:
        what = f"file that matches '{source.pattern}'" if source.pattern else "wav or flac file"
        seen = "".join(f" {said}." for said in others)
        raise CorpusError(f"{source.path}: contains no {what}; check data.sources.{index}.{seen}")
    if warnings is not None:
        warnings += others

    def found(relative: str) -> Recording:
        rate, samples = _header(source.path / relative)
        return Recording(index, relative, Path(relative).parent.name or f"root{index}", rate, samples)

    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(found, names))


def scan_files(folder: Path, leave_out: Path, warnings: list[str] | None = None) -> list[SourceFile]:
    """Every noise or room below `folder`, sorted; `warnings` as in `scan_source`."""
    return [
        SourceFile(relative) for relative in _audio_files(folder, None, leave_out, [] if warnings is None else warnings)
    ]


def _header(path: Path) -> tuple[int, int]:
    try:
        info = read_info(path)
    except AudioFileError:
        return 0, 0
    return info.sample_rate_hz, info.samples


def _audio_files(root: Path, pattern: str | None, leave_out: Path, warnings: list[str]) -> list[str]:
    """Paths relative to `root`, sorted as text; hidden files and the corpus's own folder are left out.

    Files of unsupported audio formats give a warning, unless a pattern says what is wanted.
    """
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder; create it or name another in the configuration.")
    excluded, top = os.path.realpath(leave_out), len(root.parts)
    paths, others = [], Counter[str]()
    for folder, names in _walk(str(root), excluded, set()):
        below = Path(folder).parts[top:]
        for name in names:
            if name.startswith("."):
                continue
            if fnmatch.fnmatchcase(name, pattern) if pattern else name.lower().endswith(AUDIO_SUFFIXES):
                paths.append("/".join((*below, name)))
            elif not pattern and (suffix := Path(name).suffix.lower()) in _OTHER_SOUNDS:
                others[suffix] += 1
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        warnings.append(f"{root}: files of other formats are left out ({kinds}); convert them to wav or flac")
    return sorted(paths)


def _walk(folder: str, excluded: str, seen: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders and their files, following links; a folder already seen under another name is not entered again."""
    real = os.path.realpath(folder)
    if real in seen or real == excluded:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as exc:
        raise CorpusError(f"{folder}: can't be listed ({exc.strerror}); fix its permissions, or put it back.") from exc
    yield folder, [entry.name for entry in listed if entry.is_file()]
    for entry in listed:
        if not entry.name.startswith(".") and entry.is_dir():
            yield from _walk(entry.path, excluded, seen)
