"""Processes a folder's files in worker processes, or in this one.

Workers are spawned, and each opens its own models with one thread, so one worker per core uses all cores. When the
parent is interrupted, they stop after the current block and leave nothing behind; when it is killed, they die with it,
and the next run removes what they leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from timbre_restore.audio.files import reason_of
from timbre_restore.errors import AudioFileError, TimbreRestoreError
from timbre_restore.processes import SPAWN, worker_pool
from timbre_restore.runtime.files.folder import Job
from timbre_restore.runtime.files.formats import OutputFormat
from timbre_restore.runtime.files.one import FileResult, Heard, restore_file
from timbre_restore.runtime.files.treatment import Recipe, Treatment

LOOK_EVERY_S = 0.5

Outcome = FileResult | str
"""A result, or the sentence that explains why there is none."""

_recipe: Recipe | None = None  # one of each per worker process, set when it starts
_treatment: Treatment | None = None
_wanted = OutputFormat()
_heard_s: Any = None
_stop: Any = None


class _StoppedError(Exception):
    """The parent has been interrupted."""


def restore_here(
    jobs: list[Job], treatment: Treatment, wanted: OutputFormat, heard: Heard
) -> Iterator[tuple[int, Outcome]]:
    """Yield each job's number and outcome, one after another in this process."""
    for number, job in enumerate(jobs):
        yield number, _outcome(job, treatment, wanted, heard)


def restore_beside(
    jobs: list[Job], recipe: Recipe, wanted: OutputFormat, heard: Heard, workers: int
) -> Iterator[tuple[int, Outcome]]:
    """The same in worker processes, in the order in which jobs finish."""
    heard_s, stop = SPAWN.Value("d", 0.0), SPAWN.Event()
    ended = AudioFileError(
        "a worker process ended without an error message, most often because memory ran out; run the same command with "
        '--skip-existing and fewer --jobs. (From a script: call it under `if __name__ == "__main__":`, since '
        "each worker imports the script.)"
    )
    with worker_pool(workers, _start_worker, (recipe, wanted, heard_s, stop), stop=stop, ended=ended) as pool:
        numbers: dict[Future[Outcome], int] = {pool.submit(_restore, job): n for n, job in enumerate(jobs)}
        running, before_s = set(numbers), 0.0
        while running:
            done, running = wait(running, timeout=LOOK_EVERY_S, return_when=FIRST_COMPLETED)
            now_s = heard_s.value
            heard(now_s - before_s)
            before_s = now_s
            for future in done:
                yield numbers[future], future.result()


def _start_worker(recipe: Recipe, wanted: OutputFormat, heard_s: Any, stop: Any) -> None:
    global _recipe, _wanted, _heard_s, _stop
    _recipe, _wanted, _heard_s, _stop = recipe, wanted, heard_s, stop


def _restore(job: Job) -> Outcome:
    """Runs in a worker. This file's failure is an outcome; a model that can't be opened affects all, and raises."""
    global _treatment
    assert _recipe is not None
    if _treatment is None:
        _treatment = _recipe.load()
    return _outcome(job, _treatment, _wanted, _heard)


def _heard(seconds: float) -> None:
    if _stop.is_set():
        raise _StoppedError
    with _heard_s.get_lock():
        _heard_s.value += seconds


def _outcome(job: Job, treatment: Treatment, wanted: OutputFormat, heard: Heard) -> Outcome:
    try:
        return restore_file(job.source, job.target, treatment, wanted, heard=heard)
    except TimbreRestoreError as exc:
        return str(exc)
    except OSError as exc:  # in this file's folder, for example; the other files go on
        place = exc.filename or job.target
        return f"{job.source}: can't be restored ({reason_of(exc)}: {place}); check permissions and free space there."
