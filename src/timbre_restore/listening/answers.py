"""Answers as files: JSON Lines, one file per listener; the first line says whose they are, each other one is a page.

A page is there once it is answered whole; before that, each rating on it is a line of its own, a draft, which nothing
but the page itself reads: with it a listener goes on in the midst of a page.

A line is only ever added, in one write that is on the disk before the page hears of it. What a crash leaves is at
worst one torn line at the end, which reading passes over and names.
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
"""A listener's code; no letter or digit in it can be taken for another."""
LONGEST_PAGE_S = 86_400.0


@dataclass(frozen=True)
class Answer:
    """One page's numbers by sound, and how long the listener took."""

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
    """Ratings so far, of pages that were begun and not answered."""

    def begin(self, page: int, ratings: dict[str, int]) -> None:
        """Take a draft, unless it comes behind the answer."""
        if page not in self.answers:
            self.drafts[page] = ratings

    def keep(self, page: int, answer: Answer) -> None:
        """Take an answer in its draft's place."""
        self.answers[page] = answer
        self.drafts.pop(page, None)

    @property
    def complete(self) -> bool:
        return len(self.answers) == len(self.pages)


@dataclass(frozen=True)
class AnswerSheet:
    """All that lies in a test's `answers/`; `damaged` has a sentence for each line or file that was passed over."""

    sittings: tuple[Sitting, ...]
    damaged: tuple[str, ...]


def read_answers(folder: Path, test: ListeningTest) -> AnswerSheet:
    """Read every listener's file, in the order of the listeners' numbers."""
    sittings, damaged = [], []
    for path in sorted((folder / ANSWERS).glob("*.jsonl")):
        sitting, problems = read_sitting(path, test)
        damaged += problems
        if sitting is not None:
            sittings.append(sitting)
    return AnswerSheet(tuple(sorted(sittings, key=lambda one: (one.listener, one.code))), tuple(damaged))


def read_sitting(path: Path, test: ListeningTest) -> tuple[Sitting | None, list[str]]:
    """One listener's file, None when its first line is damaged or of another test, and what was passed over."""
    lines = path.read_bytes().split(b"\n")
    try:
        sitting = _opened(parse_object(lines[0]), path, test)
    except ListeningError as exc:
        return None, [f"{path}: line 1: {exc} The whole file is passed over."]
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
        raise ListeningError("the answers are of another test than this folder's.")
    if code != path.stem or not _is_integer(listener) or not 1 <= listener < 2**32:
        raise ListeningError("expected the listener's code, which names the file, and number.")
    return Sitting(code, listener, pages_of(test, listener))


def check_answer(content: Mapping[str, Any], pages: list[Page], kind: str) -> tuple[int, Answer]:
    """A page's number and its answer. Raises `ListeningError` for what the page did not ask or the scale lacks."""
    page, ratings = _checked(content, "ratings", pages, kind)
    if set(ratings) != set(pages[page].rated):
        raise ListeningError(f"page {page}: expected a rating for each sound of that page and for no other.")
    seconds = content.get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= LONGEST_PAGE_S:
        raise ListeningError(f"page {page}: {_short(seconds)} seconds: expected how long the page took.")
    return page, Answer(ratings, float(seconds))


def check_draft(content: Mapping[str, Any], pages: list[Page], kind: str) -> tuple[int, dict[str, int]]:
    """A page's number and its ratings so far. Raises `ListeningError` as `check_answer` does."""
    return _checked(content, "draft", pages, kind)


def _checked(content: Mapping[str, Any], key: str, pages: list[Page], kind: str) -> tuple[int, dict[str, int]]:
    """A page's number and ratings of some of its sounds."""
    page, ratings = content.get("page"), content.get(key)
    if not _is_integer(page) or not 0 <= page < len(pages):
        raise ListeningError(f"page {_short(page)}: expected a page from 0 to {len(pages) - 1}.")
    if not isinstance(ratings, dict) or not set(ratings) <= set(pages[page].rated):
        raise ListeningError(f"page {page}: expected a rating for each sound of that page and for no other.")
    low, high = SCALES[kind]
    for name, rating in ratings.items():
        if not _is_integer(rating) or not low <= rating <= high:
            raise ListeningError(
                f"page {page}: the rating {_short(rating)} of {name} is none; expected a whole number from {low} to "
                f"{high}."
            )
    return page, ratings


def parse_object(text: bytes) -> dict[str, Any]:
    """A JSON object; NaN and infinity are none of JSON's. Raises `ListeningError`."""
    try:
        content = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as exc:
        raise ListeningError(f"it is no JSON ({exc}).") from exc
    if not isinstance(content, dict):
        raise ListeningError("expected a JSON object.")
    return content


def append_line(path: Path, content: Mapping[str, Any], *, new: bool = False) -> None:
    """Add a line to `path`, on the disk when this returns. What a crash tore is closed off first.

    Only a `new` file is made: a line without the one that says whose it is could not be read. Raises `OSError`.
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
    """A new file's name has to be on the disk too."""
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
    raise ValueError(f"{word} is no number of JSON")
