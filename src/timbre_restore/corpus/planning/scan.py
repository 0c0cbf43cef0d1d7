"""What is there: recordings of each source, noises and rooms, in an order that no disk decides."""

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

# Endings that tell apart channels of one measurement, or cuts of one clip: ESC-50's (with its class or without), those
# of Freesound's clips in the DNS challenge, places in one of SLR28's rooms.
_CHANNEL = re.compile(r"(^|[._-])(ch(annel)?_?\d+|left|right|[lr])$|-[A-Z]$", re.IGNORECASE)
_CUT = re.compile(r"-[A-Z](?:-\d+)?$|(_Freesound_validated_\d+)_\d+$|(^Room\d+)-\d+$")
_OTHER_SOUNDS = (
    ".aac", ".aif", ".aiff", ".au", ".caf", ".m4a", ".mp2", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".w64", ".wma",
)  # fmt: skip
_READERS = 8  # headers are waited for, not computed


@dataclass(frozen=True)
class Recording:
    """One file of clean speech."""

    source: int
    relative: str
    """Path below its source, with '/'."""
    speaker: str
    rate_hz: int = 0
    """0 when the header could not be read; whoever renders it says why."""
    samples: int = 0

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
        """What the file belongs to: channels of one measurement and cuts of one clip share it, and stay on one side."""
        path = Path(self.relative)
        stem = _CUT.sub(lambda found: found[1] or found[2] or "", path.stem)
        return f"{path.parent.as_posix()}/{_CHANNEL.sub('', stem)}"

    def matches(self, patterns: Sequence[str]) -> bool:
        """Whether a pattern names the file (without suffix) or a folder that it lies in."""
        path = Path(self.relative)
        return matches_any([path.stem, *path.parent.parts], patterns)


def matches_any(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether any name fits any pattern, letter case included."""
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def scan_source(index: int, source: SourceSpec, leave_out: Path, warnings: list[str] | None = None) -> list[Recording]:
    """Every recording of a source, sorted, with rate and length. Files in its root count as one speaker.

    `warnings` gets a sentence about sounds of other formats, which are left out.
    """
    others: list[str] = []
    names = _audio_files(source.path, source.pattern, leave_out, others)
    if not names:
        what = f"file that fits '{source.pattern}'" if source.pattern else "wav or flac file"
        seen = "".join(f" {said}." for said in others)
        raise CorpusError(f"{source.path}: holds no {what}; check data.sources.{index}.{seen}")
    if warnings is not None:
        warnings += others

    def found(relative: str) -> Recording:
        rate, samples = _header(source.path / relative)
        return Recording(index, relative, Path(relative).parent.name or f"root{index}", rate, samples)

    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(found, names))


def scan_sounds(folder: Path, leave_out: Path, warnings: list[str] | None = None) -> list[Sound]:
    """Every noise or room below `folder`, sorted; `warnings` as those of `scan_source`."""
    return [Sound(relative) for relative in _audio_files(folder, None, leave_out, [] if warnings is None else warnings)]


def _header(path: Path) -> tuple[int, int]:
    try:
        info = read_info(path)
    except AudioFileError:
        return 0, 0
    return info.sample_rate_hz, info.samples


def _audio_files(root: Path, pattern: str | None, leave_out: Path, warnings: list[str]) -> list[str]:
    """Paths below `root`, sorted by their text; hidden files and the corpus's own folder are left out.

    Sounds in a format that is not read, where no pattern says what is wanted, are worth a warning.
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
        warnings.append(f"{root}: files of other formats are left out ({kinds}); bring them to wav or flac to use them")
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
        raise CorpusError(
            f"{folder}: can't be listed ({exc.strerror}); mend its permissions, or put it back where it was."
        ) from exc
    yield folder, [entry.name for entry in listed if entry.is_file()]
    for entry in listed:
        if not entry.name.startswith(".") and entry.is_dir():
            yield from _walk(entry.path, excluded, seen)
