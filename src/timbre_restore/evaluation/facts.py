"""What is known about an item besides its sound: speaker, noise, SNR, room. Reports break their numbers down by these.

A column whose name ends in a unit holds numbers, every other column text: a speaker called 0012 is not the number 12.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from pathlib import Path

from timbre_restore.audio import printable
from timbre_restore.errors import CorpusError

Facts = Mapping[str, str | float]

TABLES = {"items.tsv": "\t", "items.csv": ","}
STEM = "stem"
UNITS = ("_db", "_dbfs", "_hz", "_s", "_ms", "_samples")
UNKNOWN = ("", "n/a")
SUPPRESSOR_FACT, LIMIT_FACT = "suppressor", "attenuation_limit_db"
CORPUS_FACTS = (
    "speaker", "source", "snr_db", "noise", "room", "speech_level_dbfs", "band_limit_hz", SUPPRESSOR_FACT, LIMIT_FACT,
)  # fmt: skip
"""Of the many columns of a corpus, those in which items audibly differ."""
SHOWN_CHARACTERS = 60
# A corpus escapes characters that would break its table as \uXXXX.
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")


def facts_beside(folder: Path) -> tuple[dict[str, Facts], list[str]]:
    """Stem → facts from `items.tsv` or `items.csv` in a folder of pairs, and a message for each bad row.

    Both are empty if there is no such file.
    """
    found = [name for name in TABLES if (folder / name).is_file()]
    if not found:
        return {}, []
    if len(found) > 1:
        return {}, [f"{' and '.join(found)} both exist; keep one"]
    name = found[0]
    header, *rows = _read(folder / name, TABLES[name]) or [[]]
    if not header or header[0] != STEM:
        first = header[0] if header else ""
        return {}, [f"{name}: the first column must be '{STEM}', got '{first[:SHOWN_CHARACTERS]}'"]
    if twice := [column for column in header if header.count(column) > 1]:
        return {}, [f"{name}: the column '{twice[0]}' occurs twice"]
    return _rows(name, header, rows)


def _rows(name: str, header: list[str], rows: list[list[str]]) -> tuple[dict[str, Facts], list[str]]:
    facts: dict[str, Facts] = {}
    problems: list[str] = []
    for number, cells in enumerate(rows, start=2):
        where = f"{name}, line {number}"
        if not any(cells):
            continue
        if len(cells) != len(header):
            problems.append(f"{where}: {len(cells)} cells, expected {len(header)}")
        elif cells[0] in facts:
            problems.append(f"{where}: '{cells[0][:SHOWN_CHARACTERS]}' already has a row")
        else:
            values = dict(zip(header[1:], cells[1:], strict=True))
            problems += [f"{where}: {problem}" for problem in _not_numbers(values)]
            facts[cells[0]] = as_facts(values)
    return facts, problems


def corpus_facts(list_file: Path) -> dict[str, Facts]:
    """Listed degraded path, relative to its corpus → facts, from the corpus' own `items.tsv`; empty if there is none.

    The table is not validated: a row whose length differs from the header's is skipped, since checking is the audit's
    job.
    """
    path = list_file.parent / "items.tsv"
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").removesuffix("\n").split("\n")
    header = lines[0].split("\t")
    if "degraded" not in header:
        return {}
    rows = (line.split("\t") for line in lines[1:])
    tables = (dict(zip(header, map(_plain, cells), strict=True)) for cells in rows if len(cells) == len(header))
    return {row["degraded"]: as_facts({key: row[key] for key in CORPUS_FACTS if key in row}) for row in tables}


def as_facts(values: Mapping[str, str]) -> dict[str, str | float]:
    """Cells as facts: numbers if the column's name ends in a unit, nothing if the cell is empty.

    A number that is not finite stays text, such as 'inf' for speech without noise, so that it can't spoil a mean.
    """
    known = {key: cell.strip() for key, cell in values.items() if cell.strip() not in UNKNOWN}
    return {key: _number(cell) if key.endswith(UNITS) else cell for key, cell in known.items()}


def _number(cell: str) -> str | float:
    try:
        value = float(cell)
    except ValueError:
        return cell
    return value if math.isfinite(value) else cell


def _not_numbers(values: Mapping[str, str]) -> list[str]:
    found = []
    for key, cell in values.items():
        if key.endswith(UNITS) and cell.strip() not in UNKNOWN:
            try:
                float(cell)
            except ValueError:
                found.append(f"{key} must be a number, got '{cell[:SHOWN_CHARACTERS]}'")
    return found


def _read(path: Path, delimiter: str) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if delimiter == "\t":  # in TSV a quotation mark has no special meaning
            return [line.split("\t") for line in text.splitlines()]
        return list(csv.reader(io.StringIO(text), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise CorpusError(f"{path}: can't be read as a table ({exc}); fix or remove it.") from exc


def _plain(cell: str) -> str:
    if "\\" not in cell:
        return cell
    return printable(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), cell))
