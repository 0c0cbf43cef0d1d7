"""Tab-separated tables whose cells can hold any text and are read back unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from timbre_restore.atomic import write_text

# Characters that would end a cell or a line, the escape character, and undecodable bytes of file names (surrogates).
_UNSAFE = re.compile("[\\\\\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")


def table_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A header and one line per row; every value as `str` gives it."""
    lines = ["\t".join(columns), *("\t".join(_cell(value) for value in row) for row in rows)]
    return "".join(f"{line}\n" for line in lines)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write `table_text` to a file, atomically."""
    write_text(path, table_text(columns, rows))


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows by column name. Raises `OSError` when the file can't be read, `ValueError` when it is not such a table."""
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
    """The text of a cell, without escapes."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), cell) if "\\" in cell else cell
