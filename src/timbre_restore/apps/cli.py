"""The command line: `timbre-restore VERB …`. Each verb is a function in its own file; this one collects them.

A verb imports what it needs when it runs, so that `restore` never waits for torch, and `--help` waits for nothing.
Every failure that a user can cause or fix ends in a sentence on stderr and an exit status; a traceback is a bug.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from timbre_restore import __version__
from timbre_restore.apps import (
    audit,
    bench_frame,
    bench_train,
    check,
    compare,
    demo,
    evaluate,
    listen,
    prepare,
    restore,
    train,
)
from timbre_restore.apps.console import note, say
from timbre_restore.apps.entry import INTERRUPTED_STATUS, interrupted
from timbre_restore.errors import TimbreRestoreError

PROGRAM = "timbre-restore"
USAGE_STATUS = 2

Verb = Callable[..., int | None]

VERBS: dict[str, Verb | dict[str, Verb]] = {
    "prepare": prepare.prepare,
    "audit": audit.audit,
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "compare": compare.compare,
    "listen": {"make": listen.make, "serve": listen.serve, "analyse": listen.analyse},
    "export": train.export,
    "restore": restore.restore,
    "check": check.check,
    "demo": demo.demo,
    "bench": {"frame": bench_frame.frame, "train": bench_train.train},
}
"""Verb → function, in the order of the help. A function's parameters are its options.

Where a verb has subcommands, the first one is the default.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (by default `sys.argv` without the program name) and return the exit status."""
    try:
        status = get_command(build_app()).main(
            args=list(sys.argv[1:] if argv is None else argv) or ["--help"], prog_name=PROGRAM, standalone_mode=False
        )
    except TimbreRestoreError as exc:
        return _failed(str(exc), exc.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return interrupted()
    except BrokenPipeError:
        # The reader has gone (`… | head`); flushing stdout at exit must not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as exc:
        return _failed(_system_sentence(exc), 1)
    except Exception as exc:
        if not _is_usage_error(exc):
            raise
        return _failed(_usage_sentence(exc), USAGE_STATUS)
    return interrupted() if status == INTERRUPTED_STATUS else int(status or 0)


def build_app() -> typer.Typer:
    """All verbs as one program. Every option is accepted with `_` as well as with `-`."""
    app = typer.Typer(
        name=PROGRAM,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # text in [brackets] must be printed as it is
        context_settings={
            "token_normalize_func": lambda token: token.replace("_", "-"),
            "help_option_names": ["-h", "--help"],
        },
    )
    app.callback()(_program)
    for name, verb in VERBS.items():
        if isinstance(verb, dict):
            app.add_typer(_several(verb), name=name)
        else:
            app.command(name)(verb)
    return app


class _FirstUnlessNamed(TyperGroup):
    """A group of subcommands: a command line that names none runs the first."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0].startswith("-"):
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


def _several(verbs: dict[str, Verb]) -> typer.Typer:
    first = next(iter(verbs.values()))
    group = typer.Typer(cls=_FirstUnlessNamed, help=first.__doc__)
    for name, verb in verbs.items():
        group.command(name)(verb)
    return group


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Give a voice back what noise suppression took from it."""


def _failed(sentence: str, status: int) -> int:
    note(f"error: {sentence}")
    return status


def _is_usage_error(exc: Exception) -> bool:
    """Whether the parser rejected the command line; its base class is not public in every version of typer."""
    usage_error = typer.BadParameter.__mro__[1]
    return isinstance(exc, usage_error)


def _usage_sentence(exc: Exception) -> str:
    message = " ".join(str(getattr(exc, "format_message", lambda: exc)()).split())
    command = getattr(getattr(exc, "ctx", None), "command_path", PROGRAM)
    return f"{message.removesuffix('.')}; see '{command} --help'."


def _system_sentence(exc: OSError) -> str:
    """What the system refused, and the remedy if one is known."""
    place = f"{exc.filename}: " if exc.filename else ""
    reason = exc.strerror or str(exc)
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{place}the disk is full ({reason}); free some space and run the same command again."
    return f"{place}{reason}; check the path and its permissions."
