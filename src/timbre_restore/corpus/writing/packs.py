"""Packed output: few large files instead of several per item, for large corpora and slow disks.

A worker writes one piece per take; when all takes are there, pieces are joined in plan order into parts of about a
gigabyte. A part is named after the takes in it, so a part that is there is whole and right, and none is ever changed.
A part's marker is written after the part and before its pieces go: whatever was reached, the next run goes on from it.
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
from timbre_restore.audio import PACKED_SUFFIX
from timbre_restore.corpus.planning.plan import Take
from timbre_restore.corpus.planning.split import SPLITS
from timbre_restore.corpus.writing.folder import CorpusFolder, read_json
from timbre_restore.errors import CorpusError

PART_BYTES = 1 << 30
HINTS_SUFFIX = ".f16"


@dataclass(frozen=True)
class Place:
    """Where a take's items lie: a file, and the first byte in it."""

    path: Path
    start: int


def write_piece(
    folder: CorpusFolder, take_id: str, audio: Sequence[NDArray[np.int16]], hints: NDArray[np.float16] | None
) -> dict[str, int]:
    """Write what a take gives as one piece, and its hints as another; relative path and size of each."""
    files = {}
    for suffix, arrays in ((PACKED_SUFFIX, audio), (HINTS_SUFFIX, () if hints is None else (hints,))):
        content = b"".join(
            np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes() for array in arrays
        )
        if content:
            path = folder.piece(take_id, suffix)
            write_bytes(path, content)
            files[path.relative_to(folder.root).as_posix()] = len(content)
    return files


def packed_takes(folder: CorpusFolder) -> frozenset[tuple[str, str]]:
    """(id, digest) of every take that lies in a whole part."""
    return frozenset((take, entry["digest"]) for _, part in _parts(folder) for take, entry in part["takes"].items())


def join_pieces(
    folder: CorpusFolder, takes: Sequence[Take], markers: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Place]]:
    """Join the pieces of all takes into parts. Returns take → suffix → where it lies.

    Raises `CorpusError` when a piece is gone, `OSError` when the disk does not take it.
    """
    by_id = {take.id: marker for take, marker in zip(takes, markers, strict=True) if marker["items"]}
    places: dict[str, dict[str, Place]] = {}
    names = []
    for split in SPLITS:
        own = [take.id for take in takes if take.split == split and take.id in by_id]
        for group in _groups(own, by_id):
            names.append(_join(folder, split, group, by_id))
            part = read_json(folder.part_marker(names[-1])) or {}
            for take_id in group:
                starts = part["takes"][take_id]["starts"]
                places[take_id] = {s: Place(folder.part(names[-1], s), start) for s, start in starts.items()}
    _sweep(folder, set(names), {(take, marker["digest"]) for take, marker in by_id.items()})
    return places


def remove_parts(folder: CorpusFolder) -> None:
    """Take all parts away, from a folder whose items are files of their own by now."""
    for path in (*folder.part("x", "").parent.glob("*"), *folder.part_marker("x").parent.glob("*.json")):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.part("x", "").parent.rmdir()


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


def _join(folder: CorpusFolder, split: str, group: Sequence[str], markers: Mapping[str, Mapping[str, Any]]) -> str:
    """Make one part unless it is there, and remove its pieces; the part's name comes back."""
    listed = "\n".join(f"{take} {markers[take]['digest']}" for take in group)
    name = f"{split}-{hashlib.sha256(listed.encode()).hexdigest()[:16]}"
    if _whole(folder, read_json(folder.part_marker(name))) is None:
        sources = _sources(folder)
        entries: dict[str, Any] = {take: {"digest": markers[take]["digest"], "starts": {}} for take in group}
        sizes = {}
        for suffix in (PACKED_SUFFIX, HINTS_SUFFIX):
            with replacing(folder.part(name, suffix)) as temporary, temporary.open("wb") as out:
                for take in group:
                    piece = folder.piece(take, suffix)
                    size = markers[take]["files"].get(piece.relative_to(folder.root).as_posix())
                    if size is not None:
                        entries[take]["starts"][suffix] = out.tell()
                        _copy(piece, sources.get((take, markers[take]["digest"], suffix)), size, out)
                sizes[suffix] = out.tell()
        write_text(folder.part_marker(name), json.dumps({"name": name, "sizes": sizes, "takes": entries}))
    for take in group:
        for suffix in (PACKED_SUFFIX, HINTS_SUFFIX):
            folder.piece(take, suffix).unlink(missing_ok=True)
    return name


def _copy(piece: Path, elsewhere: Place | None, size: int, out: IO[bytes]) -> None:
    """Append a piece, from its own file or from a part of an earlier run."""
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


def _sources(folder: CorpusFolder) -> dict[tuple[str, str, str], Place]:
    """Where parts of earlier runs hold a take: (id, digest, suffix) → place."""
    return {
        (take, entry["digest"], suffix): Place(folder.part(name, suffix), start)
        for name, part in _parts(folder)
        for take, entry in part["takes"].items()
        for suffix, start in entry["starts"].items()
    }


def _parts(folder: CorpusFolder) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.part_marker("x").parent.glob("*.json")):
        part = _whole(folder, read_json(path))
        if part is not None:
            yield path.stem, part


def _whole(folder: CorpusFolder, part: dict[str, Any] | None) -> dict[str, Any] | None:
    """A part's marker, if its files are as long as it says."""
    if part is None:
        return None
    for suffix, size in part["sizes"].items():
        path = folder.part(part["name"], suffix)
        if not path.is_file() or path.stat().st_size != size:
            return None
    return part


def _sweep(folder: CorpusFolder, names: set[str], listed: set[tuple[str, str]]) -> None:
    """Remove parts whose takes all lie in the listed ones by now, and pieces that a killed run had joined already.

    A part with takes that this plan leaves out stays: a smaller `--max_files` costs no work.
    """
    for name, part in list(_parts(folder)):
        if name not in names and {(take, entry["digest"]) for take, entry in part["takes"].items()} <= listed:
            folder.part_marker(name).unlink(missing_ok=True)
    known = {path.stem for path in folder.part_marker("x").parent.glob("*.json")}
    for path in folder.part("x", PACKED_SUFFIX).parent.glob("*"):
        if path.stem not in known:
            path.unlink(missing_ok=True)
    joined = {take for take, _ in listed}
    for path in folder.piece("x", PACKED_SUFFIX).parent.parent.glob("*/*"):
        if path.stem in joined:
            path.unlink(missing_ok=True)
