"""Lists of pairs, read the same way everywhere: each line is `degraded_path|clean_path`, taken literally.

No line is skipped, not even an empty one, and no whitespace is trimmed: line n of a list is item n.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from timbre_restore.audio.packed import LEAD_SAMPLES, locate_packed, packed_name, packed_segment
from timbre_restore.errors import AudioFileError, CorpusError

SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Pair:
    """One line of a list."""

    degraded: Path
    clean: Path
    line: int
    """Counted from 1."""

    @property
    def noisy(self) -> Path:
        """The noisy item: the same name in the folder `noisy`, or what follows clean in a packed file."""
        samples, place = self.samples, locate_packed(self.clean)
        if samples is not None and place is not None:
            return packed_name(place[0], place[1] + samples)
        return self.degraded.parent.parent / "noisy" / self.degraded.name

    @property
    def hints(self) -> Path:
        """The suppressor's hints: the same name in the folder `hints`, or what follows noisy in a packed file."""
        samples, place = self.samples, locate_packed(self.clean)
        if samples is not None and place is not None:
            return packed_name(place[0], place[1] + 2 * samples + LEAD_SAMPLES)
        return self.degraded.parent.parent / "hints" / f"{self.degraded.stem}.npy"

    @property
    def samples(self) -> int | None:
        """Length of a packed item in samples, from its offsets; None for separate files, which state their own."""
        return packed_segment(self.degraded, self.clean)


def parse_list(path: Path) -> tuple[list[Pair], list[str]]:
    """The pairs of a list, and the problem of each invalid line. Raises `CorpusError` if the file can't be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not UTF-8 text"
        raise CorpusError(f"{path}: can't be read ({reason}); prepare the corpus first.") from exc
    pairs: list[Pair] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        degraded, bar, clean = line.partition("|")
        if not (degraded.strip() and bar and clean.strip() and "|" not in clean):
            problems.append(f"line {number}: expected 'degraded_path|clean_path', got '{line[:SHOWN_CHARACTERS]}'")
            continue
        pair = Pair(Path(degraded), Path(clean), number)
        try:
            packed_segment(pair.degraded, pair.clean)
        except AudioFileError as exc:
            problems.append(f"line {number}: {str(exc).removesuffix('.')}")
        else:
            pairs.append(pair)
    return pairs, problems


def read_list(path: Path | str) -> list[Pair]:
    """The pairs of a list, possibly empty. Raises `CorpusError` on a malformed line or if the file can't be read."""
    pairs, problems = parse_list(Path(path))
    if problems:
        raise CorpusError(f"{path}, {problems[0]}.")
    return pairs
