"""Plans the work on a folder: which files, and where their results go. Decided before any work starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timbre_restore.errors import AudioFileError
from timbre_restore.runtime.files.formats import SUFFIXES, OutputFormat, written_suffix


@dataclass(frozen=True)
class Job:
    """One file, and where its result goes."""

    source: Path
    target: Path


def plan_folder(
    source: Path,
    target: Path,
    wanted: OutputFormat,
    closed: list[str],
    unfollowed: list[Path],
    *,
    into_folder: bool = False,
) -> list[Job]:
    """Every recording below `source`, sorted, and its place in the same tree below `target`.

    Adds a sentence to `closed` for each folder that can't be listed, and each link to a folder to `unfollowed`. Raises
    `AudioFileError` when there is nothing to do, when something would be overwritten, or when two recordings would
    become the same file.
    """
    if target.is_file():
        raise AudioFileError(f"{target}: is a file, but the input is a folder; give a folder as output.")
    if target.suffix.lower() in SUFFIXES and not target.exists() and not into_folder:
        raise AudioFileError(f"{target}: is a file name, but the input is a folder; give a folder as output.")
    if source.resolve() == target.resolve():
        raise AudioFileError(f"{target}: is the input folder itself; give another, so that nothing is overwritten.")
    jobs = [
        Job(file, (target / file.relative_to(source)).with_suffix(written_suffix(file, wanted)))
        for file in sorted(_recordings(source, target, closed, unfollowed))
    ]
    if not jobs:
        links = f" except behind links to folders, which are not followed ({unfollowed[0]})" if unfollowed else ""
        raise AudioFileError(next(iter(closed), f"{source}: holds no sound file{links}; check the path."))
    _refuse_collisions(jobs)
    return jobs


def strangers_in(target: Path, source: Path, jobs: list[Job]) -> list[Path]:
    """Recordings in an output folder inside the input folder that no job writes."""
    if source.resolve() not in target.resolve().parents or not target.is_dir():
        return []
    results = {job.target.resolve() for job in jobs}
    return [file for file in sorted(_recordings(target, None, [], [])) if file.resolve() not in results]


def _refuse_collisions(jobs: list[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    taken: dict[Path, Path] = {}
    for job in jobs:
        place = job.target.resolve()
        if place in sources:
            raise AudioFileError(
                f"{job.target}: is one of the recordings itself; give another folder, so that nothing is overwritten."
            )
        if place in taken:
            raise AudioFileError(
                f"{taken[place]} and {job.source} would both become {job.target}; rename one, or choose another format."
            )
        taken[place] = job.source


def _recordings(folder: Path, leaving_out: Path | None, closed: list[str], unfollowed: list[Path]) -> Iterator[Path]:
    """Every file below `folder` with a recording's suffix.

    Links to folders are not followed, so a loop can't trap the walk. Hidden files are not recordings: they may be side
    files of other systems, or partial files of a killed run, with the same suffixes.
    """
    own = leaving_out and leaving_out.resolve()

    def refuse(exc: OSError) -> None:
        closed.append(f"{exc.filename}: can't be listed ({exc.strerror}); fix its permissions.")

    for root, folders, names in os.walk(folder, followlinks=False, onerror=refuse):
        here = Path(root)
        folders[:] = [name for name in folders if not name.startswith(".") and (here / name).resolve() != own]
        unfollowed += (here / name for name in sorted(folders) if (here / name).is_symlink())
        sounds = (name for name in names if Path(name).suffix.lower() in SUFFIXES)
        yield from (here / name for name in sounds if not name.startswith("."))
