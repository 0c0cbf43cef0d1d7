"""What the folder lists: pairs for training, a row per item, and what was left out. All in plan order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timbre_restore.atomic import write_text
from timbre_restore.audio import HOP_SAMPLES, PACKED_SUFFIX, packed_name
from timbre_restore.corpus.planning.plan import Take
from timbre_restore.corpus.planning.split import SPLITS
from timbre_restore.corpus.rendering.render import HINT_VALUES, LEAD_SAMPLES
from timbre_restore.corpus.table import write_table
from timbre_restore.corpus.writing.folder import ROLES, CorpusFolder
from timbre_restore.corpus.writing.packs import HINTS_SUFFIX, Place, join_pieces

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
    """Write `train.txt`, `val.txt`, `items.tsv` and `skipped.tsv`, the same bytes for the same plan and markers."""
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
                paths = _own_paths(folder, take, item["name"], suffix, hints=marker["hints"])
            pairs[take.split].append(f"{paths[0]}|{paths[1]}")
            shared = [marker["row"][column] for column in ROW_COLUMNS]
            below = [path.relative_to(folder.root).as_posix() if path is not None else "" for path in paths]
            index = item["index"]
            rows.append([item["name"], take.split, *below, index, index * segment, item["activity"], *shared])
    for split in SPLITS:
        write_text(folder.root / f"{split}.txt", "".join(f"{line}\n" for line in pairs[split]))
    write_table(folder.root / "items.tsv", ITEM_COLUMNS, rows)
    write_table(folder.root / "skipped.tsv", SKIPPED_COLUMNS, skipped)


def _own_paths(folder: CorpusFolder, take: Take, name: str, suffix: str, *, hints: bool) -> list[Path | None]:
    """Degraded, clean, noisy and hints, each a file of its own."""
    suffixes = {role: "npy" if role == "hints" else suffix for role in ROLES}
    paths: list[Path | None] = [folder.item(take.split, role, name, suffixes[role]) for role in ROLES]
    return paths if hints else [*paths[:-1], None]


def _packed_paths(place: Mapping[str, Place], number: int, segment: int) -> list[Path | None]:
    """The same of item `number` of what a take gave, inside a part."""
    audio, hints = place[PACKED_SUFFIX], place.get(HINTS_SUFFIX)
    first = audio.start // 2 + number * (3 * segment + LEAD_SAMPLES)
    paths: list[Path | None] = [packed_name(audio.path, first + role * segment) for role in range(3)]
    values = segment // HOP_SAMPLES * HINT_VALUES
    return [*paths, None if hints is None else packed_name(hints.path, hints.start // 2 + number * values)]
