"""The exception tree: every failure that a person can cause or cure is one of these.

A message is one sentence that says what was found, where, what was expected and the remedy. The command line
prints it and exits with `exit_code`; anything else that escapes is a bug in this project. Those with words of their own
say how they are made again: an error may have to come out of a process.
"""

from __future__ import annotations


class TimbreRestoreError(Exception):
    """Base of all expected failures."""

    exit_code = 1


class ConfigError(TimbreRestoreError):
    """Configuration that can't be used; holds every problem that was found, not just the first."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.problems,)


class AudioFileError(TimbreRestoreError):
    """A sound file that is missing, unreadable, or not what it should be."""


class FormatError(AudioFileError):
    """A form of sound that was asked for and can't be had, whatever the source is."""

    exit_code = 2


class CorpusError(TimbreRestoreError):
    """A corpus that can't be made, or a list or item that does not hold what it promises."""


class ScoresError(TimbreRestoreError):
    """Scores, or a rule over them, that can't be used: a gate must not look like one that was not passed."""

    exit_code = 2


class LockedError(CorpusError):
    """Another process is working on the same folder in a way that would collide."""


class SuppressorError(TimbreRestoreError):
    """The noise suppressor is missing, or is not the build that is pinned."""


class ModelError(TimbreRestoreError):
    """A model that does not fit its file, its input or its use."""


class CheckpointError(TimbreRestoreError):
    """A checkpoint that is missing, torn, or of another run."""


class TrainingStopped(TimbreRestoreError):
    """A stop rule ended the run; the message says what was seen and what to change."""

    exit_code = 3


class TrainingInterrupted(TimbreRestoreError):
    """A signal ended the run between two steps, with a checkpoint."""

    def __init__(self, message: str, signal_number: int | None) -> None:
        self.exit_code = 128 + (signal_number or 2)  # as a shell says it
        self.signal_number = signal_number
        super().__init__(message)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (str(self), self.signal_number)


class ProcessLostError(TimbreRestoreError):
    """Another process of the same run has ended, and this one can't go on alone."""


class ListeningError(TimbreRestoreError):
    """A listening test that can't be made, served or read, or an answer that is none."""


class ExportError(TimbreRestoreError):
    """The exported file does not compute what the network computes."""


def extra_command(*extras: str) -> str:
    """What installs the project's optional packages: from its folder, since no index need have it."""
    return f"pip install '.[{','.join(extras)}]' in the project's folder"


class MissingExtraError(TimbreRestoreError):
    """An optional package is absent; the message names the command that installs it."""

    def __init__(self, package: str, command: str, purpose: str) -> None:
        self.words = package, command, purpose
        super().__init__(f"{purpose} needs the package '{package}', which is not installed; run: {command}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), self.words
