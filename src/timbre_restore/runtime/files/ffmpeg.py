"""What libsndfile does not read, decoded by the program ffmpeg where it is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from timbre_restore.errors import AudioFileError

_PREFIX = re.compile(r"^(\[.* @ 0x[0-9a-f]+\] )?(file:.*?: )?")
"""What stands before ffmpeg's reason: its part that speaks, and the file, which is named already."""
_LOST = ("prematurely", "partial file", "truncat")
"""Words of ffmpeg for an end that came too early, which it does not always take for a failure."""


def ffmpeg_program() -> str | None:
    """Where ffmpeg is, if it is."""
    return shutil.which("ffmpeg")


class FfmpegError(AudioFileError):
    """ffmpeg did not decode a file whole; `said` is its own reason."""

    def __init__(self, path: Path, said: str) -> None:
        self.said = said
        super().__init__(f"{path}: ffmpeg can't decode it whole ({said}); copy the file again.")


class Decoder:
    """ffmpeg at work: the first sound track of a file as WAV with 32-bit floats, its tags in front."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
        self._path, self._process, self._words = path, process, words

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, none at the end. Raises `FfmpegError` when the end is not a good one."""
        assert self._process.stdout is not None
        content = self._process.stdout.read(size)
        if not content:
            self._judge(self._process.wait())
        return content

    def _judge(self, status: int) -> None:
        self._words.seek(0)
        lines = self._words.read().decode("utf-8", errors="replace").strip().splitlines()
        said = _PREFIX.sub("", lines[-1].strip()) if lines else ""
        if status or any(word in said.lower() for word in _LOST):
            raise FfmpegError(self._path, said.removesuffix(".") or f"it ended with status {status}")


@contextmanager
def decoding(path: Path, program: str) -> Iterator[Decoder]:
    """ffmpeg on a file, ended when the block ends. Raises `AudioFileError` when it can't be run."""
    command: list[str | bytes] = [
        program, "-nostdin", "-v", "error", "-xerror", "-i", b"file:" + os.fsencode(path),
        "-map", "0:a:0", "-bitexact", "-f", "wav", "-c:a", "pcm_f32le", "-",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as words:
        try:
            # In a session of its own, or Ctrl-C would end it before this program knows why.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, bufsize=0,
                start_new_session=True,
            )  # fmt: skip
        except OSError as exc:
            raise AudioFileError(f"{program}: can't be run ({exc.strerror}); install ffmpeg again.") from exc
        with process:
            try:
                yield Decoder(path, process, words)
            finally:
                process.kill()
