"""Sounds and pictures of a page: within it as long as they fit, and then in a folder beside it."""

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
    """Where what a page does not hold itself lies: move the two together."""
    return page.with_name(f"{page.stem}_files")


class Beside:
    """What is shown on the page that is to be written as `page`.

    `shown` names a sound or picture in the page's text, `settled` decides where it lies. Names follow from content, so
    a page that is there, and its folder, are whole until the new page takes their place.
    """

    def __init__(self, page: Path) -> None:
        self.folder = files_beside(page)
        self.files: dict[str, bytes] = {}
        """What lies in the folder, by name."""
        self._unsettled: dict[str, bytes] = {}

    def shown(self, suffix: str, content: bytes) -> str:
        """The address of a sound ('flac') or picture ('png')."""
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"
        self._unsettled[name] = content
        return self._address(name)

    def settled(self, text: str, room: int) -> str:
        """`text` with all that is shown in it, where that has room; else what is shown in it goes into the folder."""
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
        """Remove what an earlier page of that name had there, and nothing else."""
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
