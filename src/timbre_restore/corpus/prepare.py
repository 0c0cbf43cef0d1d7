"""From folders of recordings to a finished corpus: scan, plan, render what is missing, write the lists."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from timbre_restore.atomic import write_json, write_text
from timbre_restore.corpus.one_voice import doubts_about
from timbre_restore.corpus.planning.plan import Plan, Take, scan_and_plan
from timbre_restore.corpus.progress import PrepareProgress
from timbre_restore.corpus.spec import CorpusSpec, PrepareSummary, check_output_dir
from timbre_restore.corpus.workers import Done, Numbered, make_all
from timbre_restore.corpus.writing.disk import bytes_needed, check_space, readable
from timbre_restore.corpus.writing.folder import CorpusFolder, read_json
from timbre_restore.corpus.writing.items import Maker, Marker, unwritable
from timbre_restore.corpus.writing.manifest import write_lists
from timbre_restore.corpus.writing.packs import packed_takes, remove_parts
from timbre_restore.errors import CorpusError

MOST_SKIPPED = 0.2

Execute = Callable[[Maker, Sequence[Numbered], int], Iterator[Done]]
"""Makes takes from a maker, numbered takes and a worker count: `workers.make_all`, or a cluster's `make_on_ray`."""


@dataclass(frozen=True)
class Work:
    """Which part of a corpus one call makes, and how. Nothing here affects the content of an item."""

    max_files: int | None = None
    """Limit on the number of recordings in the whole corpus."""
    shard_idx: int = 0
    shard_count: int = 1
    num_workers: int = 2
    skip_existing: bool = False
    """Skip takes whose marker and files exist."""
    force: bool = False
    """Accept settings that differ from those the folder was started with, and remake what they affect."""
    progress: bool = True


def prepare(
    spec: CorpusSpec, output_dir: Path, work: Work | None = None, *, execute: Execute = make_all
) -> PrepareSummary:
    """Make a shard of the corpus, and write the lists once every shard is done.

    Raises `CorpusError` when the disk can't hold it, or, at the end, with everything written, when more than a fifth
    of the takes were skipped or no take gave an item. Raises `LockedError` while another process works on the same
    shard, or on the same corpus with another number of shards.
    """
    started = time.monotonic()
    work = work or Work()
    _check_numbers(work)
    spec = spec.absolute()
    folder = CorpusFolder(check_output_dir(output_dir))
    settings = spec.settings()
    maker = Maker(spec, folder.root, hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest())
    plan = scan_and_plan(spec, folder.root, work.max_files)
    own = plan.takes[work.shard_idx :: work.shard_count]
    try:
        with folder.shard_lock(work.shard_idx, work.shard_count):
            folder.check_settings(settings, spec.passes, force=work.force)
            done = folder.shard_marker(work.shard_idx, work.shard_count)
            with folder.folder_lock():  # another shard may be writing the lists and relies on the markers it read
                done.unlink(missing_ok=True)
                _write_plan(folder, plan)
            markers, rendered = _make_missing(maker, plan, own, work, execute)
            seconds = round(time.monotonic() - started, 3)
            write_json(done, _made_by(maker, plan) | {"seconds": seconds, "rendered": rendered})
            listed = _list_if_complete(maker, plan, work)
    except OSError as exc:
        raise unwritable(folder.root, exc) from exc
    doubts = _doubts(spec, plan) if rendered and work.shard_idx == 0 else []
    summary = _summary(folder.root, own, markers, rendered, [*plan.warnings, *doubts])
    summary.seconds, summary.lists_written = time.monotonic() - started, listed
    _refuse_if_empty(summary, markers)
    return summary


def _check_numbers(work: Work) -> None:
    if work.shard_count < 1 or not 0 <= work.shard_idx < work.shard_count:
        raise CorpusError(
            f"shard {work.shard_idx} of {work.shard_count}: expected an index from 0 to the shard count minus 1."
        )
    if work.max_files is not None and work.max_files < 1:
        raise CorpusError(f"--max_files is {work.max_files}; expected at least 1.")


def _write_plan(folder: CorpusFolder, plan: Plan) -> None:
    path = folder.root / "plan.tsv"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != plan.digest:
        write_text(path, plan.text)


def _make_missing(
    maker: Maker, plan: Plan, takes: Sequence[Take], work: Work, execute: Execute
) -> tuple[list[Marker], int]:
    """Markers of these takes, in order, and how many of them were made now."""
    packed = packed_takes(maker.folder)
    markers: dict[int, Marker] = {}
    for number, take in enumerate(takes if work.skip_existing else ()):
        marker = maker.finished(take, packed)
        if marker is not None:
            markers[number] = marker
    missing = [(number, take) for number, take in enumerate(takes) if number not in markers]
    if missing:
        own = {take.id for take in takes}
        elsewhere = [t for t in plan.takes if t.id not in own and not maker.folder.take_marker(t.id).is_file()]
        markers.update(_make(maker, missing, elsewhere, work, execute))
    return [markers[number] for number in range(len(takes))], len(missing)


def _make(
    maker: Maker, missing: Sequence[Numbered], elsewhere: Sequence[Take], work: Work, execute: Execute
) -> dict[int, Marker]:
    """Make takes after checking that the disk has room for them and for those made elsewhere; markers by number."""
    items, needed = bytes_needed(maker.spec, (take for _, take in missing))
    _, others = bytes_needed(maker.spec, elsewhere)
    free = check_space(maker.root, needed + others)
    markers: dict[int, Marker] = {}
    with PrepareProgress(len(missing), visible=work.progress) as shown:
        beside = f", {readable(others)} for the other shards" if others else ""
        shown.say(f"{len(missing)} takes, up to {items} items: {readable(needed)}{beside}, {readable(free)} free")
        for done in execute(maker, missing, work.num_workers):
            markers.update(done.markers)
            shown.advance(len(done.markers), sum(len(marker["items"]) for _, marker in done.markers), done.spent_s)
        shown.say(f"where the time went: {shown.work}")
    return markers


def _list_if_complete(maker: Maker, plan: Plan, work: Work) -> bool:
    """Write the lists if every shard of this plan has its marker, as the last one to finish will find."""
    folder = maker.folder
    with folder.folder_lock():
        for index in range(work.shard_count):
            marker = read_json(folder.shard_marker(index, work.shard_count)) or {}
            if any(marker.get(key) != value for key, value in _made_by(maker, plan).items()):
                return False
        markers = [read_json(folder.take_marker(take.id)) for take in plan.takes]
        present = [marker for marker in markers if marker is not None]
        if len(present) < len(markers):
            raise CorpusError(f"{folder.state}: markers are missing; run the same command again with --skip_existing.")
        if work.force:
            # A plan limited by max_files does not contain the takes it leaves out.
            whole = plan if work.max_files is None else scan_and_plan(maker.spec, folder.root, None)
            _remove_foreign_takes(folder, whole)
            if maker.spec.format != "packed":
                remove_parts(folder)
        write_lists(folder, maker.spec.format, maker.spec.segment, plan.takes, present)
    return True


def _made_by(maker: Maker, plan: Plan) -> dict[str, str]:
    """What all shards must agree on before lists are written; the plan alone does not cover the file format."""
    return {"plan": plan.digest, "settings": maker.settings_digest}


def _doubts(spec: CorpusSpec, plan: Plan) -> list[str]:
    """Warnings about the recordings if they are all of one person."""
    recordings = {(take.recording.source, take.recording.relative): take.recording for take in plan.takes}
    if len({recording.speaker for recording in recordings.values()}) != 1:
        return []
    return doubts_about([(r.relative, spec.sources[r.source].path / r.relative) for r in recordings.values()])


def _remove_foreign_takes(folder: CorpusFolder, plan: Plan) -> None:
    """Remove what earlier settings made and these do not, so that the folder equals a fresh one."""
    planned = {take.id for take in plan.takes}
    for path in (folder.state / "takes").glob("*/*.json"):
        if path.stem not in planned:
            for relative in (read_json(path) or {}).get("files", {}):
                (folder.root / relative).unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _summary(
    root: Path, takes: Sequence[Take], markers: Sequence[Marker], rendered: int, warnings: list[str]
) -> PrepareSummary:
    items = Counter({"train": 0, "val": 0})
    for take, marker in zip(takes, markers, strict=True):
        items[take.split] += len(marker["items"])
    rejected = {(kind, path): reason for marker in markers for kind, path, reason in marker["rejected"]}
    warnings += [f"{kind} {path} can't be used: {reason}" for (kind, path), reason in rejected.items()]
    skipped = sum(marker["skipped"] is not None for marker in markers)
    return PrepareSummary(root, items["train"], items["val"], len(takes), rendered, skipped, warnings=warnings)


def _refuse_if_empty(summary: PrepareSummary, markers: Sequence[Marker]) -> None:
    """Raise when no take gave an item, or when more than a fifth of the takes were skipped."""
    if summary.skipped <= MOST_SKIPPED * summary.takes:
        if summary.takes and not summary.items_train + summary.items_val:
            raise CorpusError(
                f"{summary.output_dir}: {summary.takes} takes gave no item, because no segment of them holds enough "
                "voice; check the recordings, or raise data.variety.silent_items."
            )
        return
    reason, times = Counter(marker["skipped"] for marker in markers if marker["skipped"] is not None).most_common(1)[0]
    rest = (
        f"see {summary.output_dir / 'skipped.tsv'}. The rest is prepared and listed."
        if summary.lists_written
        else "the rest of this shard is prepared and will be listed when the other shards are done."
    )
    raise CorpusError(
        f"{summary.output_dir}: {summary.skipped} of {summary.takes} takes were skipped, more than a fifth ({times} of "
        f"them: {reason}); {rest}"
    )
