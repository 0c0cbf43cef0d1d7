"""Which items a corpus's first recordings gave, so that a small trial needs no corpus of its own."""

from __future__ import annotations

from pathlib import Path

from timbre_restore.corpus.planning.split import SPLITS
from timbre_restore.corpus.table import plain_cell
from timbre_restore.errors import CorpusError


def first_items(root: Path, recordings: int) -> dict[str, int]:
    """How many items, from the top of each list, the first draws of the first `recordings` recordings gave.

    The table is in plan order, which goes through the recordings of both splits once per pass, so these are the items
    that `--max_files` would have made. Without `items.tsv`, each item counts as a recording, and the first
    `recordings` items of each list are taken. Raises `CorpusError` when the table can't be read.
    """
    path = root / "items.tsv"
    if not path.is_file():
        return dict.fromkeys(SPLITS, recordings)
    counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
    seen: set[tuple[str, ...]] = set()
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            columns = file.readline().rstrip("\n").split("\t")
            places = [columns.index(name) for name in ("split", "pass", "source", "recording")]
            for line in file:
                cells = line.rstrip("\n").split("\t")
                split, draw, *recording = (plain_cell(cells[place]) for place in places)
                seen.add(tuple(recording))
                if draw != "0" or len(seen) > recordings:
                    break
                counts[split] += 1
    except (OSError, ValueError, IndexError, KeyError) as exc:
        raise CorpusError(f"{path}: can't be read as a table of items ({exc}); prepare the corpus again.") from exc
    return counts
