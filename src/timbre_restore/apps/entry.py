"""Where the program begins: the command line takes a while to import, and Ctrl-C ends that too in one line.

So nothing is imported at the top beyond what Python has loaded already.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

INTERRUPTED_STATUS = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` without the program's name by default); the exit status comes back."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a file's name may be no text, or not this one's
    try:
        from timbre_restore.apps import cli

        return cli.main(argv)
    except (KeyboardInterrupt, ImportError) as exc:
        if not _began_with_interrupt(exc):
            raise
        return interrupted()


def interrupted() -> int:
    """Say that Ctrl-C was heard; the exit status comes back."""
    if sys.stderr is not None:
        sys.stderr.write("interrupted; what was written by then is kept.\n")
        sys.stderr.flush()
    return INTERRUPTED_STATUS


def _began_with_interrupt(exc: BaseException | None) -> bool:
    """Whether Ctrl-C lies behind it: an extension module that is interrupted fails to be imported (onnxruntime)."""
    while exc is not None and not isinstance(exc, KeyboardInterrupt):
        exc = exc.__cause__ or exc.__context__
    return exc is not None
