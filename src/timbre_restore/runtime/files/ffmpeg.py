"""Decodes what libsndfile can't read with the program ffmpeg, if it is installed."""

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
"""The prefix of ffmpeg's reason: the component that reports it, and the file, which is already named."""
_LOST = ("prematurely", "partial file", "truncat")
"""Words with which ffmpeg reports a premature end; it does not always treat one as a failure."""


def ffmpeg_program() -> str | None:
    """The path of ffmpeg, or None if it is not installed."""
    return shutil.which("ffmpeg")


class FfmpegError(AudioFileError):
    """ffmpeg could not decode a whole file; `said` is the reason it gave."""

    def __init__(self, path: Path, said: str) -> None:
        self.said = said
        super().__init__(f"{path}: ffmpeg can't decode the whole file ({said}); copy the file again.")


class Decoder:
    """A running ffmpeg: the first audio track of a file as 32-bit float WAV, preceded by its tags."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
        self._path, self._process, self._words = path, process, words

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, none at the end. Raises `FfmpegError` if the file ended with an error."""
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
    """Run ffmpeg on a file and stop it when the block ends. Raises `AudioFileError` when it can't be run."""
    command: list[str | bytes] = [
        program, "-nostdin", "-v", "error", "-xerror", "-i", b"file:" + os.fsencode(path),
        "-map", "0:a:0", "-bitexact", "-f", "wav", "-c:a", "pcm_f32le", "-",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as words:
        try:
            # In its own session, or Ctrl-C would end it before this program knows why.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, bufsize=0,
                start_new_session=True,
            )  # fmt: skip
        except OSError as exc:
            raise AudioFileError(f"{program}: can't be run ({exc.strerror}); reinstall ffmpeg.") from exc
        with process:
            try:
                yield Decoder(path, process, words)
            finally:
                process.kill()
