"""Runs files, folders and pipes through suppressor and restorer: any format and rate in, the same out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from timbre_restore import atomic
from timbre_restore.errors import AudioFileError
from timbre_restore.runtime.files.crew import Outcome, restore_beside, restore_here
from timbre_restore.runtime.files.folder import Job, plan_folder, strangers_in
from timbre_restore.runtime.files.formats import AS_IT_WAS, PIPE, OutputFormat, Raw, check_wanted, written_suffix
from timbre_restore.runtime.files.one import FileResult, restore_file
from timbre_restore.runtime.files.reading import InputEnd, check_source, seconds_of
from timbre_restore.runtime.files.treatment import Recipe, Treatment


@dataclass
class RestoreSummary:
    """The outcome of every file; failures are sentences."""

    done: list[FileResult] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: int = 0
    """Files that were skipped because their result already existed."""
    unfollowed: list[Path] = field(default_factory=list)
    """Links to folders, which were skipped."""
    in_output: list[Path] = field(default_factory=list)
    """Recordings, other than this run's results, in an output folder inside the input folder; they were skipped."""

    @property
    def seconds(self) -> float:
        """Audio restored, in seconds."""
        return sum(result.seconds for result in self.done)


@dataclass(frozen=True)
class Standing:
    """The progress of a run. `all_s` is None if no header states a length."""

    files: int
    all_files: int
    seconds: float
    all_s: float | None


Progress = Callable[[Standing], None]


def restore_path(
    source: Path | str,
    target: Path | str,
    how: Treatment | Recipe,
    *,
    wanted: OutputFormat = AS_IT_WAS,
    raw: Raw | None = None,
    ending: InputEnd | None = None,
    jobs: int = 1,
    skip_existing: bool = False,
    into_folder: bool = False,
    progress: Progress = lambda _standing: None,
) -> RestoreSummary:
    """Restore a file, standard input (`PIPE`), or every recording below a folder into the same tree under `target`.

    Hidden files are skipped. In a folder, a bad file is reported in the summary and the others go on; a single bad file
    raises. A result is written completely or not at all, so with `skip_existing` an interrupted run continues where it
    stopped. `jobs` worker processes share a folder; they need a `Recipe`. `raw` describes standard input that is not
    WAV; `ending` can end it before its writer does. `into_folder` marks `target` as a folder, even if it does not exist
    yet. Raises `AudioFileError`, in particular `FormatError` if no source could be given the wanted format, and
    `ModelError` or `SuppressorError` when a recipe can't be loaded.
    """
    source, target = Path(source), Path(target)
    check_wanted(wanted, target)
    if source != PIPE and source.is_dir():
        return _restore_folder(source, target, how, wanted, jobs, skip_existing, into_folder, progress)
    if source != PIPE and not source.exists():
        raise AudioFileError(f"{source}: no such file or folder; check the path.")
    if source != PIPE:
        check_source(source)
    place = _place(source, target, wanted, into_folder)
    if place != PIPE and skip_existing and place.exists():
        return RestoreSummary(skipped=1)
    if place != PIPE:
        _sweep([place])
    count = _Count(1, None if source == PIPE else seconds_of(source), progress)
    result = restore_file(source, place, _loaded(how), wanted, raw=raw, ending=ending, heard=count.heard)
    count.file_done()
    return RestoreSummary(done=[result])


def _place(source: Path, target: Path, wanted: OutputFormat, into_folder: bool) -> Path:
    """Where a single result goes; in a folder it takes the source's name."""
    if target == PIPE or not (into_folder or target.is_dir()):
        return target
    if target.is_file():
        raise AudioFileError(f"{target}: is a file, but a folder was asked for; give another, or omit the slash.")
    if source == PIPE:
        raise AudioFileError(f"{target}: is a folder, but audio from a pipe has no name; give an output file name.")
    return target / (source.stem + written_suffix(source, wanted))


def _restore_folder(
    source: Path,
    target: Path,
    how: Treatment | Recipe,
    wanted: OutputFormat,
    workers: int,
    skip_existing: bool,
    into_folder: bool,
    progress: Progress,
) -> RestoreSummary:
    if target == PIPE:
        raise AudioFileError(f"{source}: is a folder, which can't be written to a pipe; give a folder as output.")
    summary = RestoreSummary()
    jobs = plan_folder(source, target, wanted, summary.failed, summary.unfollowed, into_folder=into_folder)
    summary.in_output += strangers_in(target, source, jobs)
    outcomes: dict[int, Outcome] = {}
    with ExitStack() as folders:
        if problem := _made(target, folders):
            raise AudioFileError(problem)
        for folder in sorted({job.target.parent for job in jobs}):
            if problem := _made(folder, folders):
                summary.failed.append(problem)
                jobs = [job for job in jobs if job.target.parent != folder]
        _sweep(job.target for job in jobs)
        if skip_existing:
            planned, jobs = len(jobs), [job for job in jobs if not job.target.exists()]
            summary.skipped = planned - len(jobs)
        count = _Count(len(jobs), _expected_s(jobs), progress)
        for number, outcome in _outcomes(jobs, how, wanted, count, workers):
            outcomes[number] = outcome
            count.file_done()
    for number in sorted(outcomes):
        outcome = outcomes[number]
        if isinstance(outcome, str):
            summary.failed.append(outcome)
        else:
            summary.done.append(outcome)
    return summary


def _outcomes(
    jobs: list[Job], how: Treatment | Recipe, wanted: OutputFormat, count: _Count, workers: int
) -> Iterator[tuple[int, Outcome]]:
    workers = min(workers, len(jobs))
    if workers > 1 and isinstance(how, Recipe):
        yield from restore_beside(jobs, how, wanted, count.heard, workers)
    elif jobs:
        yield from restore_here(jobs, _loaded(how), wanted, count.heard)


def _loaded(how: Treatment | Recipe) -> Treatment:
    return how.load() if isinstance(how, Recipe) else how


def _made(folder: Path, folders: ExitStack) -> str:
    """Create a folder, removed with `folders` if it stays empty; returns why that failed, or an empty string."""
    try:
        folders.enter_context(atomic.folder_for_files(folder))
    except OSError as exc:
        return f"{folder}: can't be created ({exc.strerror}); check its permissions, or give another output."
    if not os.access(folder, os.X_OK):
        return f"{folder}: can't be entered; check its permissions, or give another output."
    return ""


def _sweep(targets: Iterable[Path]) -> None:
    """Remove what killed runs left next to the targets, and next to the files that links among them lead to."""
    for folder in {place.parent for target in targets for place in (target, atomic.real_place(target))}:
        atomic.sweep(folder)


def _expected_s(jobs: Iterable[Job]) -> float | None:
    """The total length; files whose length is not quick to read count as the average of the others."""
    lengths = [seconds_of(job.source) for job in jobs]
    known = [length for length in lengths if length is not None]
    return sum(known) / len(known) * len(lengths) if known else None


class _Count:
    """Counts and reports progress."""

    def __init__(self, files: int, all_s: float | None, progress: Progress) -> None:
        self._files, self._all_s, self._progress = files, all_s, progress
        self._done, self._seconds = 0, 0.0

    def heard(self, seconds: float) -> None:
        self._seconds += seconds
        self._tell()

    def file_done(self) -> None:
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        self._progress(Standing(self._done, self._files, self._seconds, self._all_s))
