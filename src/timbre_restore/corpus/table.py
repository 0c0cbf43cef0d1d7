"""Tab-separated tables whose cells hold any text, and come back as they were."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from timbre_restore.atomic import write_text

# What would end a cell or a line, or is no text at all (a byte of a file name that UTF-8 does not know).
_UNSAFE = re.compile("[\\\\\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")


def table_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A header and a line per row; floats as Python writes them, everything else as text."""
    lines = ["\t".join(columns), *("\t".join(_cell(value) for value in row) for row in rows)]
    return "".join(f"{line}\n" for line in lines)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """`table_text` into a file, by rename."""
    write_text(path, table_text(columns, rows))


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows by column name. Raises `OSError` without the file, `ValueError` when it is no such table."""
    return list(parse_table(path.read_text(encoding="utf-8")))


def parse_table(text: str) -> Iterator[dict[str, str]]:
    """Rows of `table_text` by column name."""
    header, *lines = text.removesuffix("\n").split("\n")
    columns = header.split("\t")
    for line in lines:
        yield dict(zip(columns, map(plain_cell, line.split("\t")), strict=True))


def _cell(value: Any) -> str:
    text = str(value)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) if _UNSAFE.search(text) else text


def plain_cell(cell: str) -> str:
    """What a cell of a table says: its text without escapes."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), cell) if "\\" in cell else cell
