"""What could not be used, and why: reasons that are the same on every machine."""

from __future__ import annotations

from pathlib import Path

from timbre_restore.errors import AudioFileError, CorpusError

Rejects = list[tuple[str, str, str]]
"""(kind, relative path, reason) of each noise or room that a take had to do without."""


class TakeSkipped(CorpusError):
    """This recording makes no items; the message is the reason, without the folder's path.

    `rejects` are the noises and rooms that had been refused until then.
    """

    def __init__(self, reason: str, rejects: Rejects | None = None) -> None:
        super().__init__(reason)
        self.rejects = rejects or []


def reason_without(path: Path, exc: AudioFileError) -> str:
    """The reason without the path, which stands beside it and differs between machines."""
    return str(exc).removeprefix(f"{path}: ").replace(repr(str(path)), "it").replace(str(path), "it")
