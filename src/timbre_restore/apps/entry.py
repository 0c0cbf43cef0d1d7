"""The entry point: importing the command line takes a while, and Ctrl-C during that time must end in one line, too.

So nothing is imported at the top beyond what Python has already loaded.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

INTERRUPTED_STATUS = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (by default `sys.argv` without the program name) and return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # like stderr: a file name may not be encodable
    try:
        from timbre_restore.apps import cli

        return cli.main(argv)
    except (KeyboardInterrupt, ImportError) as exc:
        if not _began_with_interrupt(exc):
            raise
        return interrupted()


def interrupted() -> int:
    """Report the interruption and return the exit status."""
    if sys.stderr is not None:
        sys.stderr.write("interrupted; what was already written is kept.\n")
        sys.stderr.flush()
    return INTERRUPTED_STATUS


def _began_with_interrupt(exc: BaseException | None) -> bool:
    """Whether Ctrl-C caused it: an interrupted import of an extension module (onnxruntime) ends in `ImportError`."""
    while exc is not None and not isinstance(exc, KeyboardInterrupt):
        exc = exc.__cause__ or exc.__context__
    return exc is not None
