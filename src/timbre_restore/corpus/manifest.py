"""What the folder lists: pairs for training, a row per item, and what was left out. All in plan order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from timbre_restore.atomic import write_text
from timbre_restore.corpus.folder import CorpusFolder
from timbre_restore.corpus.plan import SPLITS, Take
from timbre_restore.corpus.spec import printable

ROW_COLUMNS = (
    "speaker", "source", "recording", "pass", "native_rate_hz", "bandwidth_hz", "speech_level_dbfs", "speech_gain_db",
    "snr_db", "noise", "noise_offset_samples", "noise_gain_db", "room", "gain_db", "suppressor", "suppressor_build",
    "attenuation_limit_db", "post_filter_beta",
)  # fmt: skip
ITEM_COLUMNS = ("item", "split", "degraded", "clean", "noisy", "index", "start_samples", *ROW_COLUMNS)
SKIPPED_COLUMNS = ("kind", "source", "path", "pass", "reason")


def write_lists(folder: CorpusFolder, suffix: str, takes: Sequence[Take], markers: Sequence[Mapping[str, Any]]) -> None:
    """Write `train.txt`, `val.txt`, `items.tsv` and `skipped.tsv`, the same bytes for the same plan and markers."""
    pairs: dict[str, list[str]] = {split: [] for split in SPLITS}
    rows: list[Sequence[Any]] = []
    skipped: dict[tuple[Any, ...], None] = {}
    for take, marker in zip(takes, markers, strict=True):
        recording = take.recording
        if marker["skipped"] is not None:
            entry = ("recording", recording.source, recording.relative, take.pass_index, marker["skipped"])
            skipped[entry] = None
        for kind, path, reason in marker["rejected"]:
            skipped[(kind, "", path, "", reason)] = None
        for index, item in enumerate(marker["items"]):
            paths = [f"{item['split']}/{role}/{item['name']}.{suffix}" for role in ("degraded", "clean", "noisy")]
            pairs[item["split"]].append(f"{folder.root / paths[0]}|{folder.root / paths[1]}")
            shared = [marker["row"][column] for column in ROW_COLUMNS]
            rows.append([item["name"], item["split"], *paths, index, item["start"], *shared])
    for split in SPLITS:
        write_text(folder.root / f"{split}.txt", "".join(f"{line}\n" for line in pairs[split]))
    write_table(folder.root / "items.tsv", ITEM_COLUMNS, rows)
    write_table(folder.root / "skipped.tsv", SKIPPED_COLUMNS, skipped)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Tab-separated text with a header."""
    lines = ["\t".join(columns), *("\t".join(_cell(value) for value in row) for row in rows)]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows by column name."""
    header, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    columns = header.split("\t")
    return [dict(zip(columns, line.split("\t"), strict=True)) for line in lines]


def _cell(value: Any) -> str:
    """A value on one line without tabs."""
    return " ".join(printable(str(value)).replace("\t", " ").splitlines())
