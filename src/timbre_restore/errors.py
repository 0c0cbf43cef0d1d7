"""The exception hierarchy: every failure that a user can cause or fix is one of these.

A message is one sentence that says what was found, where, what was expected and the remedy. The command line
prints it and exits with `exit_code`; any other exception that escapes is a bug in this project. Classes whose
constructor takes other arguments define `__reduce__`, because errors may have to be pickled in a worker process.
"""

from __future__ import annotations


class TimbreRestoreError(Exception):
    """Base of all expected failures."""

    exit_code = 1


class ConfigError(TimbreRestoreError):
    """The configuration is invalid; holds every problem that was found, not just the first."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.problems,)


class AudioFileError(TimbreRestoreError):
    """An audio file is missing, unreadable, or not what it should be."""


class FormatError(AudioFileError):
    """The requested audio format is not possible, whatever the source is."""

    exit_code = 2


class CorpusError(TimbreRestoreError):
    """A corpus can't be made, or a list or item does not hold what it promises."""


class ScoresError(TimbreRestoreError):
    """Scores, or a rule over them, can't be used; the exit code differs from that of a gate that failed."""

    exit_code = 2


class LockedError(CorpusError):
    """Another process is working on the same folder, and the two would conflict."""


class SuppressorError(TimbreRestoreError):
    """The noise suppressor is missing, or is not the pinned build."""


class ModelError(TimbreRestoreError):
    """A model does not match its file, its input or its use."""


class CheckpointError(TimbreRestoreError):
    """A checkpoint is missing, damaged, or from another run."""


class TrainingStopped(TimbreRestoreError):
    """A stop rule ended the run; the message says what was observed and what to change."""

    exit_code = 3


class TrainingInterrupted(TimbreRestoreError):
    """A signal ended the run between two steps, after a checkpoint was saved."""

    def __init__(self, message: str, signal_number: int | None) -> None:
        self.exit_code = 128 + (signal_number or 2)  # as a shell reports it
        self.signal_number = signal_number
        super().__init__(message)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (str(self), self.signal_number)


class ProcessLostError(TimbreRestoreError):
    """Another process of the same run has ended, and this one can't continue alone."""


class ListeningError(TimbreRestoreError):
    """A listening test can't be made, served or read, or an answer is invalid."""


class ExportError(TimbreRestoreError):
    """The exported file does not compute what the network computes."""


def extra_command(*extras: str) -> str:
    """How to install optional extras: from the project's folder, since the project may not be on a package index."""
    return f"pip install '.[{','.join(extras)}]' in the project's folder"


class MissingExtraError(TimbreRestoreError):
    """An optional package is absent; the message names the command that installs it."""

    def __init__(self, package: str, command: str, purpose: str) -> None:
        self.words = package, command, purpose
        super().__init__(f"{purpose} needs the package '{package}', which is not installed; run: {command}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), self.words
