"""Packed output: few large files instead of several per item, for large corpora and slow disks.

A worker writes one piece per take; when all takes are done, pieces are joined in plan order into parts of about a
gigabyte. A part is named after the takes in it, so an existing part is complete and correct until one of its takes is
made again: then there is a new piece, and the part is rebuilt. A part's marker is written after the part and before its
pieces are removed, so the next run can continue from any point.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.atomic import replacing, write_bytes, write_text
from timbre_restore.corpus.planning.plan import Take
from timbre_restore.corpus.planning.split import SPLITS
from timbre_restore.corpus.writing.folder import CorpusFolder, read_json
from timbre_restore.errors import CorpusError

PART_BYTES = 1 << 30


@dataclass(frozen=True)
class Place:
    """Where a take's items are: a file, and the offset of the first byte."""

    path: Path
    start: int


def write_piece(folder: CorpusFolder, take_id: str, arrays: Sequence[NDArray[Any]]) -> dict[str, int]:
    """Write a take's items as one piece; returns its relative path and size."""
    content = b"".join(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes() for array in arrays)
    if not content:
        return {}
    path = folder.piece(take_id)
    write_bytes(path, content)
    return {path.relative_to(folder.root).as_posix(): len(content)}


def packed_takes(folder: CorpusFolder) -> frozenset[tuple[str, str]]:
    """(id, digest) of every take in a complete part."""
    return frozenset((take, entry["digest"]) for _, part in _parts(folder) for take, entry in part["takes"].items())


def join_pieces(folder: CorpusFolder, takes: Sequence[Take], markers: Sequence[Mapping[str, Any]]) -> dict[str, Place]:
    """Join the pieces of all takes into parts. Returns where each take is.

    Raises `CorpusError` when a piece is missing, `OSError` when the disk can't be written.
    """
    by_id = {take.id: marker for take, marker in zip(takes, markers, strict=True) if marker["items"]}
    places: dict[str, Place] = {}
    names, sources = [], _sources(folder)
    for split in SPLITS:
        own = [take.id for take in takes if take.split == split and take.id in by_id]
        for group in _groups(own, by_id):
            names.append(_join(folder, split, group, by_id, sources))
            part = read_json(folder.part_marker(names[-1])) or {}
            path = folder.part(names[-1])
            places |= {take_id: Place(path, part["takes"][take_id]["start"]) for take_id in group}
    _sweep(folder, set(names), {(take, marker["digest"]) for take, marker in by_id.items()})
    return places


def remove_parts(folder: CorpusFolder) -> None:
    """Remove all parts from a folder whose items are now individual files."""
    for path in (*folder.part("x").parent.glob("*"), *folder.part_marker("x").parent.glob("*.json")):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.part("x").parent.rmdir()


def _groups(takes: Sequence[str], markers: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for take in takes:
        own = sum(markers[take]["files"].values())
        if group and size + own > PART_BYTES:
            yield group
            group, size = [], 0
        group.append(take)
        size += own
    if group:
        yield group


def _join(
    folder: CorpusFolder,
    split: str,
    group: Sequence[str],
    markers: Mapping[str, Mapping[str, Any]],
    sources: Mapping[tuple[str, str], Place],
) -> str:
    """Make one part, unless it exists and none of its takes is newer, and remove its pieces. Returns its name."""
    listed = "\n".join(f"{take} {markers[take]['digest']}" for take in group)
    name = f"{split}-{hashlib.sha256(listed.encode()).hexdigest()[:16]}"
    elsewhere = [sources.get((take, markers[take]["digest"])) for take in group]
    newer = any(folder.piece(take).is_file() for take in group)
    newer |= any(place is not None and place.path != folder.part(name) for place in elsewhere)
    if newer or _whole(folder, read_json(folder.part_marker(name))) is None:
        entries: dict[str, Any] = {}
        with replacing(folder.part(name)) as temporary, temporary.open("wb") as out:
            for take, place in zip(group, elsewhere, strict=True):
                (size,) = markers[take]["files"].values()
                entries[take] = {"digest": markers[take]["digest"], "start": out.tell()}
                _copy(folder.piece(take), place, size, out)
            whole = out.tell()
        write_text(folder.part_marker(name), json.dumps({"name": name, "size": whole, "takes": entries}))
    for take in group:
        folder.piece(take).unlink(missing_ok=True)
    return name


def _copy(piece: Path, elsewhere: Place | None, size: int, out: IO[bytes]) -> None:
    """Append a take, from its piece or from a part of an earlier run."""
    place = Place(piece, 0) if piece.is_file() else elsewhere
    if place is None:
        raise CorpusError(f"{piece}: is missing; run the same command again with --skip_existing.")
    before = out.tell()
    with place.path.open("rb") as source:
        source.seek(place.start)
        left = size
        while left > 0 and (block := source.read(min(left, 1 << 20))):
            out.write(block)
            left -= len(block)
    if out.tell() - before != size:
        raise CorpusError(f"{place.path}: is cut off; remove it and run the same command again with --skip_existing.")


def _sources(folder: CorpusFolder) -> dict[tuple[str, str], Place]:
    """Where parts of earlier runs hold a take: (id, digest) → place in the most recent part."""
    return {
        (take, entry["digest"]): Place(folder.part(name), entry["start"])
        for name, part in _parts(folder)
        for take, entry in part["takes"].items()
    }


def _parts(folder: CorpusFolder) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and markers of complete parts, oldest first."""
    for path in sorted(folder.part_marker("x").parent.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        part = _whole(folder, read_json(path))
        if part is not None:
            yield path.stem, part


def _whole(folder: CorpusFolder, part: dict[str, Any] | None) -> dict[str, Any] | None:
    """A part's marker, if its file has the recorded size; else None."""
    if part is None:
        return None
    path = folder.part(part["name"])
    return part if path.is_file() and path.stat().st_size == part["size"] else None


def _is_wanted(folder: CorpusFolder, take: str, digest: str) -> bool:
    """Whether a take still matches its marker, although this plan leaves it out."""
    return (read_json(folder.take_marker(take)) or {}).get("digest") == digest


def _sweep(folder: CorpusFolder, names: set[str], listed: set[tuple[str, str]]) -> None:
    """Remove parts whose takes are all in listed parts or obsolete, and pieces that a killed run had already joined.

    A part with takes that this plan leaves out stays, so that a smaller `--max_files` loses no work.
    """
    for name, part in list(_parts(folder)):
        held = {(take, entry["digest"]) for take, entry in part["takes"].items()}
        if name not in names and not any(_is_wanted(folder, *take) for take in held - listed):
            folder.part_marker(name).unlink(missing_ok=True)
    known = {path.stem for path in folder.part_marker("x").parent.glob("*.json")}
    for path in folder.part("x").parent.glob("*"):
        if path.stem not in known:
            path.unlink(missing_ok=True)
    joined = {take for take, _ in listed}
    for path in folder.piece("x").parent.parent.glob("*/*"):
        if path.stem in joined:
            path.unlink(missing_ok=True)
