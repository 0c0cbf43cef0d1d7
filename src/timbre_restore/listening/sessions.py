"""Listeners at work: who they are, what they still have to hear, and their answers on disk."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path
from typing import Any

from timbre_restore.errors import ListeningError
from timbre_restore.listening.answers import CODE, Sitting, append_line, check_answer, check_draft, read_answers
from timbre_restore.listening.plan import ANSWERS, TRAINING, ListeningTest, fingerprint, pages_of

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
CODE_LENGTH = 6


class Sessions:
    """All listeners of a test. Methods are thread-safe, but only one process may use the folder."""

    def __init__(self, folder: Path, test: ListeningTest) -> None:
        self._answers, self._test = folder / ANSWERS, test
        self._lock = threading.Lock()
        self._answers.mkdir(exist_ok=True)
        sheet = read_answers(folder, test)
        self.damaged = sheet.damaged
        self._sittings = {sitting.code: sitting for sitting in sheet.sittings}
        # A number is never given twice, so files that can't be read count as well.
        files = sum(1 for _ in self._answers.glob("*.jsonl"))
        self._last = max([files, *(sitting.listener for sitting in sheet.sittings)])

    def begin(self, code: str | None) -> dict[str, Any]:
        """Begin a new listener, or continue the one with `code`: returns only what the page needs to know."""
        with self._lock:
            return self._view(self._sitting_of(code) if code is not None else self._new())

    def answer(self, code: str, content: dict[str, Any]) -> dict[str, Any]:
        """Check and store a page's answer. Raises `ListeningError` for an invalid code or answer."""
        with self._lock:
            sitting = self._sitting_of(code)
            page, answer = check_answer(content, sitting.pages, self._test.kind)
            self._write(sitting, page, ratings=dict(answer.ratings), seconds=answer.seconds)
            sitting.keep(page, answer)
            return {"saved": page, "answered": len(sitting.answers), "pages": len(sitting.pages)}

    def draft(self, code: str, content: dict[str, Any]) -> dict[str, Any]:
        """Check and store the ratings so far on a page. Raises `ListeningError` as `answer` does."""
        with self._lock:
            sitting = self._sitting_of(code)
            page, ratings = check_draft(content, sitting.pages, self._test.kind)
            self._write(sitting, page, draft=ratings)
            sitting.begin(page, ratings)
            return {"kept": page}

    def counts(self) -> tuple[int, int]:
        """The numbers of listeners and answers."""
        with self._lock:
            return len(self._sittings), sum(len(sitting.answers) for sitting in self._sittings.values())

    def _sitting_of(self, code: str) -> Sitting:
        sitting = self._sittings.get(code.strip().upper()) if isinstance(code, str) else None
        if sitting is None:
            raise ListeningError("this test has no listener with that code; check its six letters and digits.")
        return sitting

    def _write(self, sitting: Sitting, page: int, **what: Any) -> None:
        line = {"page": page, "item": sitting.pages[page].trial.item, **what}
        append_line(self._answers / f"{sitting.code}.jsonl", line)

    def _new(self) -> Sitting:
        listener = self._last + 1
        while True:
            code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
            path = self._answers / f"{code}.jsonl"
            if CODE.fullmatch(code) and not path.exists():
                break
        append_line(path, {"code": code, "listener": listener, "test": fingerprint(self._test)}, new=True)
        self._last = listener
        self._sittings[code] = Sitting(code, listener, pages_of(self._test, listener))
        return self._sittings[code]

    def _view(self, sitting: Sitting) -> dict[str, Any]:
        pages = [
            {
                "training": page.trial.purpose == TRAINING,
                "reference": page.trial.reference,
                "stimuli": list(page.order),
                "rated": list(page.rated),
            }
            for page in sitting.pages
        ]
        return {
            "code": sitting.code,
            "kind": self._test.kind,
            "sample_rate_hz": self._test.sample_rate_hz,
            "pages": pages,
            "answered": sorted(sitting.answers),
            "drafts": {str(page): ratings for page, ratings in sitting.drafts.items()},
        }
