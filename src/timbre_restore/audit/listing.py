"""What a corpus folder says about itself: lists, tables, settings, and file sizes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from sys import intern
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import Pair, locate_packed, parse_list
from timbre_restore.corpus.planning.split import SPLITS
from timbre_restore.corpus.table import plain_cell, read_table
from timbre_restore.errors import CorpusError

_READ = (
    "item", "split", "degraded", "clean", "noisy", "hints", "index", "speaker", "source", "recording", "native_rate_hz",
    "bandwidth_hz", "speech_level_dbfs", "snr_db", "noise", "noise_2", "room", "band_limit_hz", "suppressor",
    "suppressor_build", "activity",
)  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """`items.tsv` by column; a hundred thousand rows as dictionaries would take half a gigabyte."""

    columns: dict[str, list[str]]
    count: int

    def text(self, name: str) -> list[str]:
        """A column; empty strings if the table has no such column."""
        return self.columns.get(name) or [""] * self.count

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as numbers; NaN where a cell is not a number."""
        return np.array([_number(word) for word in self.text(name)], dtype=np.float64)


@dataclass(frozen=True)
class Corpus:
    """A corpus folder as found. Items are numbered over both lists, training first."""

    root: Path
    pairs: list[Pair]
    items: dict[str, int]
    problems: list[str]
    """Invalid lines of the lists."""
    rows: Rows | None
    skipped: list[dict[str, str]]
    settings: dict[str, Any]
    """The settings it was prepared with; empty if not recorded."""
    order: NDArray[np.int64] = field(repr=False)
    """Row of each item in `rows`; all -1 when lists and rows disagree."""

    def split_of(self, item: int) -> str:
        """The list that names the item."""
        return "train" if item < self.items["train"] else "val"

    def column(self, name: str) -> list[str]:
        """A column of the rows in item order; empty strings where unknown."""
        words = self.rows.text(name) if self.rows else []
        return [words[row] if row >= 0 else "" for row in self.order.tolist()]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of the rows in item order as numbers; NaN where unknown."""
        return np.array([_number(word) for word in self.column(name)], dtype=np.float64)

    @cached_property
    def hinted(self) -> list[bool]:
        """Whether each item has hints according to its row; not every suppressor provides them."""
        return [bool(word) for word in self.column("hints")]

    @cached_property
    def files(self) -> dict[Path, int]:
        """Every file that the lists need, with its size in bytes; -1 if missing."""
        found: dict[Path, int] = {}
        for pair, hinted in zip(self.pairs, self.hinted, strict=True):
            for path in (pair.degraded, pair.clean, pair.noisy, *([pair.hints] if hinted else ())):
                packed = locate_packed(path)
                file = path if packed is None else packed[0]
                if file not in found:
                    found[file] = _size(file)
        return found

    @cached_property
    def digest(self) -> str:
        """What a verdict is tied to: the bytes of lists and rows, and the size of every file they need."""
        digest = hashlib.sha256()
        for name in ("train.txt", "val.txt", "items.tsv"):
            path = self.root / name
            digest.update(path.read_bytes() if path.is_file() else b"-")
            digest.update(b"\0")
        digest.update(np.array(list(self.files.values()), dtype="<i8").tobytes())
        return digest.hexdigest()


def read_corpus(folder: Path) -> Corpus:
    """Read lists and tables. Raises `CorpusError` when lists are missing or tables can't be read."""
    root = folder.absolute()
    pairs: list[Pair] = []
    items: dict[str, int] = {}
    problems: list[str] = []
    for split in SPLITS:
        found, wrong = parse_list(root / f"{split}.txt")
        pairs += found
        items[split] = len(found)
        problems += [f"{split}.txt, {problem}" for problem in wrong]
    try:
        rows = _read_rows(root / "items.tsv") if (root / "items.tsv").is_file() else None
        skipped = read_table(root / "skipped.tsv") if (root / "skipped.tsv").is_file() else []
    except (OSError, ValueError) as exc:
        raise CorpusError(f"{root}: the tables can't be read ({exc}); prepare the corpus again.") from exc
    order = _order(pairs, items, rows)
    return Corpus(root, pairs, items, problems, rows, skipped, _settings(root), order)


def first_difference(corpus: Corpus) -> tuple[str, int] | None:
    """List and line where lists and rows first differ; None when they name the same items in the same order."""
    if corpus.rows is None:
        return None
    rows, start = corpus.rows, 0
    for split in SPLITS:
        own = [i for i, side in enumerate(rows.text("split")) if side == split]
        pairs = corpus.pairs[start : start + corpus.items[split]]
        start += len(pairs)
        degraded, clean = rows.text("degraded"), rows.text("clean")
        for line, (pair, row) in enumerate(zip(pairs, own, strict=False), start=1):
            if not (_names(pair.degraded, degraded[row]) and _names(pair.clean, clean[row])):
                return split, line
        if len(pairs) != len(own):
            return split, 1 + min(len(pairs), len(own))
    return None


def _order(pairs: list[Pair], items: dict[str, int], rows: Rows | None) -> NDArray[np.int64]:
    nothing = np.full(len(pairs), -1, dtype=np.int64)
    if rows is None:
        return nothing
    probe = Corpus(Path(), pairs, items, [], rows, [], {}, nothing)
    if first_difference(probe) is not None:
        return nothing
    sides = rows.text("split")
    return np.array([i for split in SPLITS for i, side in enumerate(sides) if side == split], dtype=np.int64)


def _names(path: Path, relative: str) -> bool:
    """Whether a listed path ends with the row's relative path; only the end, as a folder may have several names."""
    return bool(relative) and path.as_posix().endswith("/" + relative)


def _read_rows(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="\n") as file:
        header = file.readline().rstrip("\n").split("\t")
        wanted = [(place, name) for place, name in enumerate(header) if name in _READ]
        columns: dict[str, list[str]] = {name: [] for _, name in wanted}
        count = 0
        for count, line in enumerate(file, start=1):
            cells = line.rstrip("\n").split("\t")
            if len(cells) != len(header):
                raise ValueError(f"items.tsv, line {count + 1}: {len(cells)} cells, expected {len(header)}")
            for place, name in wanted:
                columns[name].append(intern(plain_cell(cells[place])))
    return Rows(columns, count)


def _settings(root: Path) -> dict[str, Any]:
    try:
        content = json.loads((root / ".state" / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1
