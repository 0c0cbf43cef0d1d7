"""Answers as files: JSON Lines, one file per listener; the first line names the listener, each other line is a page.

A page is recorded once it is completely answered. Before that, each rating on it is appended as a draft line, which is
read only by the page itself, so that a listener can continue in the middle of a page.

Lines are only ever appended, each in one write that is on disk before the page gets its confirmation. A crash leaves at
worst one incomplete line at the end, which is skipped and reported when reading.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from timbre_restore.errors import ListeningError
from timbre_restore.listening.plan import ANSWERS, SCALES, ListeningTest, Page, fingerprint, pages_of

CODE = re.compile(r"[A-HJ-NP-Z2-9]{6}")
"""A listener's code; its letters and digits can't be mistaken for one another."""
LONGEST_PAGE_S = 86_400.0


@dataclass(frozen=True)
class Answer:
    """One page's ratings by sound, and how long the listener took."""

    ratings: Mapping[str, int]
    seconds: float


@dataclass
class Sitting:
    """What one listener has answered. The last answer to a page counts: a page may be sent again after a failure."""

    code: str
    listener: int
    pages: list[Page]
    answers: dict[int, Answer] = field(default_factory=dict)
    drafts: dict[int, dict[str, int]] = field(default_factory=dict)
    """Ratings so far on pages that were begun but not answered."""

    def begin(self, page: int, ratings: dict[str, int]) -> None:
        """Store a draft, unless the page has already been answered."""
        if page not in self.answers:
            self.drafts[page] = ratings

    def keep(self, page: int, answer: Answer) -> None:
        """Store an answer in place of its draft."""
        self.answers[page] = answer
        self.drafts.pop(page, None)

    @property
    def complete(self) -> bool:
        return len(self.answers) == len(self.pages)


@dataclass(frozen=True)
class AnswerSheet:
    """Everything in a test's `answers/`; `damaged` has a message for each line or file that was skipped."""

    sittings: tuple[Sitting, ...]
    damaged: tuple[str, ...]


def read_answers(folder: Path, test: ListeningTest) -> AnswerSheet:
    """Read every listener's file, ordered by listener number."""
    sittings, damaged = [], []
    for path in sorted((folder / ANSWERS).glob("*.jsonl")):
        sitting, problems = read_sitting(path, test)
        damaged += problems
        if sitting is not None:
            sittings.append(sitting)
    return AnswerSheet(tuple(sorted(sittings, key=lambda one: (one.listener, one.code))), tuple(damaged))


def read_sitting(path: Path, test: ListeningTest) -> tuple[Sitting | None, list[str]]:
    """One listener's file (None if its first line is damaged or of another test), and messages on skipped lines."""
    lines = path.read_bytes().split(b"\n")
    try:
        sitting = _opened(parse_object(lines[0]), path, test)
    except ListeningError as exc:
        return None, [f"{path}: line 1: {exc} The whole file is skipped."]
    problems = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            content = parse_object(line)
            if "draft" in content:
                sitting.begin(*check_draft(content, sitting.pages, test.kind))
            else:
                sitting.keep(*check_answer(content, sitting.pages, test.kind))
        except ListeningError as exc:
            problems.append(f"{path}: line {number}: {exc}")
    return sitting, problems


def _opened(first: Mapping[str, Any], path: Path, test: ListeningTest) -> Sitting:
    code, listener = first.get("code"), first.get("listener")
    if first.get("test") != fingerprint(test):
        raise ListeningError("the answers belong to a different test than this folder's.")
    if code != path.stem or not _is_integer(listener) or not 1 <= listener < 2**32:
        raise ListeningError("expected the listener's code (the same as in the file name) and number.")
    return Sitting(code, listener, pages_of(test, listener))


def check_answer(content: Mapping[str, Any], pages: list[Page], kind: str) -> tuple[int, Answer]:
    """A page's number and its answer. Raises `ListeningError` if it doesn't fit the page or the scale."""
    page, ratings = _checked(content, "ratings", pages, kind)
    if set(ratings) != set(pages[page].rated):
        raise ListeningError(f"page {page}: expected a rating for each sound of that page and for no other.")
    seconds = content.get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= LONGEST_PAGE_S:
        raise ListeningError(f"page {page}: {_short(seconds)} seconds: expected the time the page took.")
    return page, Answer(ratings, float(seconds))


def check_draft(content: Mapping[str, Any], pages: list[Page], kind: str) -> tuple[int, dict[str, int]]:
    """A page's number and its ratings so far. Raises `ListeningError` as `check_answer` does."""
    return _checked(content, "draft", pages, kind)


def _checked(content: Mapping[str, Any], key: str, pages: list[Page], kind: str) -> tuple[int, dict[str, int]]:
    """A page's number and the ratings of some of its sounds."""
    page, ratings = content.get("page"), content.get(key)
    if not _is_integer(page) or not 0 <= page < len(pages):
        raise ListeningError(f"page {_short(page)}: expected a page from 0 to {len(pages) - 1}.")
    if not isinstance(ratings, dict) or not set(ratings) <= set(pages[page].rated):
        raise ListeningError(f"page {page}: expected a rating for each sound of that page and for no other.")
    low, high = SCALES[kind]
    for name, rating in ratings.items():
        if not _is_integer(rating) or not low <= rating <= high:
            raise ListeningError(
                f"page {page}: the rating {_short(rating)} of {name} is invalid; expected a whole number from {low} to "
                f"{high}."
            )
    return page, ratings


def parse_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON object, without NaN and infinity, which JSON doesn't have. Raises `ListeningError`."""
    try:
        content = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as exc:
        raise ListeningError(f"it is not valid JSON ({exc}).") from exc
    if not isinstance(content, dict):
        raise ListeningError("expected a JSON object.")
    return content


def append_line(path: Path, content: Mapping[str, Any], *, new: bool = False) -> None:
    """Append a line to `path`, on disk when this returns. A line left incomplete by a crash is terminated first.

    The file is created only if `new`: without the first line, which names the listener, no line could be read. Raises
    `OSError`.
    """
    stamped = {**content, "time": datetime.now(UTC).isoformat(timespec="seconds")}
    line = json.dumps(stamped, sort_keys=True).encode() + b"\n"
    flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT | os.O_EXCL if new else 0)
    descriptor = os.open(path, flags, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.write(descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if new:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Flush the folder, so that a new file's name is on disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")
