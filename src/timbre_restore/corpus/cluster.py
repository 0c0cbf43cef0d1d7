"""Making takes on a Ray cluster: any number of machines that see the same folders under the same names.

A chunk of takes is one task. When a machine is lost, its chunks are made again elsewhere; whatever it had already
written comes out with the same bytes, so nothing has to be undone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from timbre_restore.corpus.workers import Done, Numbered, chunked, make_chunk
from timbre_restore.corpus.writing.items import Maker
from timbre_restore.errors import CorpusError, MissingExtraError, extra_command

_AHEAD = 2  # chunks waiting per processor

_makers: dict[str, Maker] = {}  # one per worker process and corpus, so that its suppressor is opened once


def make_on_ray(maker: Maker, takes: Sequence[Numbered], num_workers: int) -> Iterator[Done]:
    """All takes, in order of completion, at most `num_workers` chunks at once; 0 uses every processor.

    Joins the cluster that `RAY_ADDRESS` names or that runs on this machine, or starts one here if there is none.
    """
    ray = _ray()
    with _joined(ray):
        processors = int(ray.cluster_resources().get("CPU", 1))
        workers = min(num_workers or processors, processors)
        task = ray.remote(num_cpus=1, max_retries=-1)(_make)
        shared = ray.put(maker)
        chunks = iter(chunked(takes, workers))
        running: list[Any] = []
        while True:
            while len(running) < _AHEAD * workers and (chunk := next(chunks, None)) is not None:
                running.append(task.remote(shared, list(chunk)))
            if not running:
                return
            finished, running = ray.wait(running, num_returns=1)
            for done in ray.get(finished):
                if isinstance(done, CorpusError):
                    raise done
                yield done


def _make(maker: Maker, chunk: Sequence[Numbered]) -> Done | CorpusError:
    """Make a chunk in a cluster worker; a `CorpusError` is returned as a value, so that its type survives."""
    own = _makers.setdefault(f"{maker.root}\0{maker.settings_digest}", maker)
    try:
        return make_chunk(own, chunk)
    except CorpusError as exc:
        return exc


@contextmanager
def _joined(ray: Any) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics about a private corpus
    try:
        ray.init(configure_logging=False, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as exc:
        reason = " ".join(str(exc).split())[:200]
        raise CorpusError(
            f"can't join a Ray cluster ({reason}); check RAY_ADDRESS, or start one: ray start --head"
        ) from exc
    try:
        yield
    finally:
        ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as exc:
        raise MissingExtraError("ray", extra_command("cluster"), "--cluster ray") from exc
    return ray
