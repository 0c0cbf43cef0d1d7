"""Sounds and pictures of a page: embedded as long as they fit, otherwise in a folder beside it."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import quote

from timbre_restore import atomic

_KINDS = {"flac": "audio/flac", "png": "image/png"}
_NAME = re.compile(r"[0-9a-f]{16}\.(flac|png)")


def files_beside(page: Path) -> Path:
    """The folder for files that a page does not embed; page and folder must be moved together."""
    return page.with_name(f"{page.stem}_files")


class Beside:
    """The sounds and pictures of the page that will be written to `page`.

    `shown` gives the address of a sound or picture for the page's text, `settled` decides where it is stored. Names are
    derived from content, so an existing page and its folder stay intact until the new page replaces them.
    """

    def __init__(self, page: Path) -> None:
        self.folder = files_beside(page)
        self.files: dict[str, bytes] = {}
        """The folder's files by name."""
        self._unsettled: dict[str, bytes] = {}

    def shown(self, suffix: str, content: bytes) -> str:
        """The address of a sound ('flac') or picture ('png')."""
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"
        self._unsettled[name] = content
        return self._address(name)

    def settled(self, text: str, room: int) -> str:
        """`text` with its files embedded, if that fits into `room`; otherwise the files go into the folder."""
        whole = text
        for name, content in self._unsettled.items():
            kind = _KINDS[name.rpartition(".")[2]]
            uri = f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
            whole = whole.replace(f'"{self._address(name)}"', f'"{uri}"')
        fits = len(whole) <= room
        if not fits:
            self.files |= self._unsettled
        self._unsettled = {}
        return whole if fits else text

    def write(self) -> None:
        """Write the folder's files, each by rename."""
        for name, content in self.files.items():
            if not (self.folder / name).exists():
                atomic.write_bytes(self.folder / name, content)

    def sweep(self) -> None:
        """Remove files that an earlier page of that name left there, and nothing else."""
        if not self.folder.is_dir():
            return
        atomic.sweep(self.folder)
        for path in self.folder.iterdir():
            if _NAME.fullmatch(path.name) and path.name not in self.files:
                path.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _address(self, name: str) -> str:
        return f"{quote(self.folder.name)}/{name}"
