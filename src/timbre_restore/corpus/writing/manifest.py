"""The lists of a corpus: training pairs, a row per item, and what was left out. All in plan order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timbre_restore.atomic import write_text
from timbre_restore.audio import HOP_SAMPLES, LEAD_SAMPLES, packed_name, packed_stride
from timbre_restore.corpus.planning.plan import Take
from timbre_restore.corpus.planning.split import SPLITS
from timbre_restore.corpus.table import write_table
from timbre_restore.corpus.writing.folder import ROLES, CorpusFolder
from timbre_restore.corpus.writing.packs import Place, join_pieces

ROW_COLUMNS = (
    "take", "speaker", "source", "recording", "pass", "part", "native_rate_hz", "bandwidth_hz", "speech_level_dbfs",
    "speech_gain_db", "snr_db", "noise", "noise_2", "noise_offset_samples", "noise_gain_db", "room",
    "pause_start_samples", "pause_s", "band_limit_hz", "gain_db", "suppressor", "suppressor_build",
    "attenuation_limit_db", "post_filter_beta",
)  # fmt: skip
ITEM_COLUMNS = ("item", "split", *ROLES, "index", "start_samples", "activity", *ROW_COLUMNS)
SKIPPED_COLUMNS = ("kind", "source", "path", "pass", "part", "reason")


def write_lists(
    folder: CorpusFolder, suffix: str, segment: int, takes: Sequence[Take], markers: Sequence[Mapping[str, Any]]
) -> None:
    """Write `train.txt`, `val.txt`, `items.tsv` and `skipped.tsv`; equal plan and markers give equal bytes."""
    places = join_pieces(folder, takes, markers) if suffix == "packed" else {}
    pairs: dict[str, list[str]] = {split: [] for split in SPLITS}
    rows: list[Sequence[Any]] = []
    skipped: dict[tuple[Any, ...], None] = {}
    for take, marker in zip(takes, markers, strict=True):
        recording = take.recording
        if marker["skipped"] is not None:
            entry = ("recording", recording.source, recording.relative, take.pass_index, take.part, marker["skipped"])
            skipped[entry] = None
        for kind, path, reason in marker["rejected"]:
            skipped[(kind, "", path, "", "", reason)] = None
        for number, item in enumerate(marker["items"]):
            if suffix == "packed":
                paths = _packed_paths(places[take.id], number, segment)
            else:
                paths = _own_paths(folder, take, item["name"], suffix)
            pairs[take.split].append(f"{paths[0]}|{paths[1]}")
            shared = [marker["row"][column] for column in ROW_COLUMNS]
            below = [path.relative_to(folder.root).as_posix() for path in paths]
            below[-1] = below[-1] if marker["hints"] else ""
            index = item["index"]
            rows.append([item["name"], take.split, *below, index, index * segment, item["activity"], *shared])
    for split in SPLITS:
        write_text(folder.root / f"{split}.txt", "".join(f"{line}\n" for line in pairs[split]))
    write_table(folder.root / "items.tsv", ITEM_COLUMNS, rows)
    write_table(folder.root / "skipped.tsv", SKIPPED_COLUMNS, skipped)


def _own_paths(folder: CorpusFolder, take: Take, name: str, suffix: str) -> list[Path]:
    """Paths of degraded, clean, noisy and hints, each in its own file."""
    suffixes = {role: "npy" if role == "hints" else suffix for role in ROLES}
    return [folder.item(take.split, role, name, suffixes[role]) for role in ROLES]


def _packed_paths(place: Place, number: int, segment: int) -> list[Path]:
    """The same for item `number` of a take, as places inside a part."""
    first = place.start // 2 + number * packed_stride(segment, HOP_SAMPLES)
    starts = (0, segment, 2 * segment, 3 * segment + LEAD_SAMPLES)
    return [packed_name(place.path, first + start) for start in starts]
