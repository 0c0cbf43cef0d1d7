"""What could not be used, and why; the reasons read the same on every machine."""

from __future__ import annotations

from pathlib import Path

from timbre_restore.errors import AudioFileError, CorpusError

Rejects = list[tuple[str, str, str]]
"""(kind, relative path, reason) of each noise or room that a take could not use."""


class TakeSkipped(CorpusError):
    """A take gives no items; the message is the reason, without the folder's path.

    `rejects` are the noises and rooms that had been rejected by then.
    """

    def __init__(self, reason: str, rejects: Rejects | None = None) -> None:
        super().__init__(reason)
        self.rejects = rejects or []


def reason_without(path: Path, exc: AudioFileError) -> str:
    """The error message without the path, which is listed separately and differs between machines."""
    return str(exc).removeprefix(f"{path}: ").replace(repr(str(path)), "it").replace(str(path), "it")
