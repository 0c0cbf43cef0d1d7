"""From folders of recordings to a listed corpus: scan, plan, render what is missing, list."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from timbre_restore.atomic import write_json
from timbre_restore.corpus.draw import take_id
from timbre_restore.corpus.folder import CorpusFolder, read_json
from timbre_restore.corpus.items import Maker, unwritable
from timbre_restore.corpus.manifest import write_lists
from timbre_restore.corpus.plan import Plan, Take, make_plan
from timbre_restore.corpus.progress import PrepareProgress
from timbre_restore.corpus.scan import scan_sounds, scan_source
from timbre_restore.corpus.spec import CorpusSpec, PrepareSummary, check_output_dir
from timbre_restore.corpus.workers import make_all
from timbre_restore.errors import CorpusError
from timbre_restore.suppressors import describe_suppressor

MOST_SKIPPED = 0.2


def prepare(
    spec: CorpusSpec,
    output_dir: Path,
    *,
    max_files: int | None = None,
    shard_idx: int = 0,
    shard_count: int = 1,
    num_workers: int = 2,
    skip_existing: bool = False,
    progress: bool = True,
) -> PrepareSummary:
    """Make shard `shard_idx` of `shard_count` of the corpus, and its lists once every shard is there.

    `max_files` counts recordings of the whole corpus. With `skip_existing`, takes whose marker and files are there are
    left as they are. Raises `CorpusError` at the end, when everything is written, if more than a fifth of the takes
    gave nothing; `LockedError` while another process works on the same shard, or on another number of shards.
    """
    started = time.monotonic()
    _check_numbers(max_files, shard_idx, shard_count)
    spec = spec.absolute()
    folder = CorpusFolder(check_output_dir(output_dir))
    build = describe_suppressor(spec.suppressor)
    plan = scan_and_plan(spec, folder.root, max_files)
    own = plan.takes[shard_idx::shard_count]
    maker = Maker(spec, replace(plan, takes=()), folder.root, build)
    try:
        with folder.shard_lock(shard_idx, shard_count):
            folder.check_settings(spec.settings())
            done = folder.shard_marker(shard_idx, shard_count)
            with folder.folder_lock():  # another shard may be listing, and counts on the markers that it saw
                done.unlink(missing_ok=True)
            markers, rendered = _make_missing(maker, own, num_workers, skip_existing=skip_existing, progress=progress)
            digest, seconds = plan_digest(maker, plan), time.monotonic() - started
            write_json(done, {"plan": digest, "seconds": round(seconds, 3), "rendered": rendered})
            listed = _list_if_complete(maker.folder, plan, digest, spec.format, shard_count)
    except OSError as exc:
        raise unwritable(folder.root, exc) from exc
    summary = _summary(folder.root, own, markers, rendered, list(plan.warnings))
    summary.seconds, summary.lists_written = time.monotonic() - started, listed
    _refuse_if_mostly_skipped(summary, markers)
    return summary


def scan_and_plan(spec: CorpusSpec, root: Path, max_files: int | None) -> Plan:
    """What is to be made, from everything that is there."""
    recordings = [r for index, source in enumerate(spec.sources) for r in scan_source(index, source, root)]
    noises = scan_sounds(spec.noise_path, root)
    rooms = [] if spec.ir_path is None else scan_sounds(spec.ir_path, root)
    return make_plan(spec, recordings, noises, rooms, max_files=max_files)


def plan_digest(maker: Maker, plan: Plan) -> str:
    """Equal for shards that belong together."""
    digest = hashlib.sha256()
    for take in plan.takes:
        digest.update(f"{take_id(take)} {maker.digest(take)}\n".encode())
    return digest.hexdigest()


def _check_numbers(max_files: int | None, shard_idx: int, shard_count: int) -> None:
    if shard_count < 1 or not 0 <= shard_idx < shard_count:
        raise CorpusError(f"shard {shard_idx} of {shard_count}; expected an index from 0 to the count less one.")
    if max_files is not None and max_files < 1:
        raise CorpusError(f"--max_files is {max_files}; expected at least 1.")


def _make_missing(
    maker: Maker, takes: Sequence[Take], num_workers: int, *, skip_existing: bool, progress: bool
) -> tuple[list[dict[str, Any]], int]:
    """Markers of all takes in order, and how many takes were made now."""
    markers: list[dict[str, Any] | None] = [maker.finished(take) if skip_existing else None for take in takes]
    missing = [(number, take) for number, take in enumerate(takes) if markers[number] is None]
    with PrepareProgress(len(missing), visible=progress) as shown:
        for number, marker in make_all(maker, missing, min(num_workers, len(missing))):
            markers[number] = marker
            shown.advance(len(marker["items"]))
    return [marker for marker in markers if marker is not None], len(missing)


def _list_if_complete(folder: CorpusFolder, plan: Plan, digest: str, suffix: str, shard_count: int) -> bool:
    """Write the lists when every shard of this plan has its marker; whoever comes last sees them all."""
    with folder.folder_lock():
        for index in range(shard_count):
            if (read_json(folder.shard_marker(index, shard_count)) or {}).get("plan") != digest:
                return False
        markers = [read_json(folder.take_marker(take_id(take))) for take in plan.takes]
        present = [marker for marker in markers if marker is not None]
        if len(present) < len(markers):
            raise CorpusError(f"{folder.state}: markers are missing; run the same command again with --skip_existing.")
        write_lists(folder, suffix, plan.takes, present)
    return True


def _summary(
    root: Path, takes: Sequence[Take], markers: Sequence[dict[str, Any]], rendered: int, warnings: list[str]
) -> PrepareSummary:
    items = Counter({"train": 0, "val": 0})
    for take, marker in zip(takes, markers, strict=True):
        items[take.split] += len(marker["items"])
    rejected = {(kind, path): reason for marker in markers for kind, path, reason in marker["rejected"]}
    warnings += [f"{kind} {path} could not be used: {reason}" for (kind, path), reason in rejected.items()]
    skipped = sum(marker["skipped"] is not None for marker in markers)
    return PrepareSummary(root, items["train"], items["val"], len(takes), rendered, skipped, warnings=warnings)


def _refuse_if_mostly_skipped(summary: PrepareSummary, markers: Sequence[dict[str, Any]]) -> None:
    if summary.skipped <= MOST_SKIPPED * summary.takes:
        return
    reason, times = Counter(marker["skipped"] for marker in markers if marker["skipped"] is not None).most_common(1)[0]
    rest = (
        f"see {summary.output_dir / 'skipped.tsv'}. The rest is prepared and listed."
        if summary.lists_written
        else "the rest of this shard is prepared, and listed when the other shards are done."
    )
    raise CorpusError(
        f"{summary.output_dir}: {summary.skipped} of {summary.takes} takes were skipped, more than a fifth ({times} of "
        f"them: {reason}); {rest}"
    )
