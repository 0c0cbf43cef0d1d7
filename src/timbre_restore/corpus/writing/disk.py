"""The disk space a corpus needs, checked before the work starts."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from timbre_restore.audio import HINT_VALUES, HOP_SAMPLES, LEAD_SAMPLES, packed_stride
from timbre_restore.corpus.planning.plan import Take
from timbre_restore.corpus.spec import CorpusSpec
from timbre_restore.corpus.writing.packs import PART_BYTES
from timbre_restore.errors import CorpusError

_BLOCK = 4096  # allocation unit of a file system, for each of an item's files
_FLAC_SHARE = 0.75  # of the size of the samples; noisy 16-bit speech at 48 kHz compresses to 0.5 to 0.7
_SPARE = 1 << 26  # markers, lists and tables of a small corpus, and a margin
_MARKER = 2048  # per take


def bytes_needed(spec: CorpusSpec, takes: Iterable[Take]) -> tuple[int, int]:
    """Upper bounds of the items and bytes that these takes need."""
    count = items = 0
    for take in takes:
        count += 1
        items += take.items_at_most(spec.segment)
    if spec.format == "packed":  # a part is written while its pieces still exist
        content = items * 2 * packed_stride(spec.segment, HOP_SAMPLES)
        return items, content + min(content, PART_BYTES) + count * 2 * _MARKER
    audio = [2 * spec.segment, 2 * spec.segment, 2 * (spec.segment + LEAD_SAMPLES)]
    hints = 2 * HINT_VALUES * (spec.segment // HOP_SAMPLES)
    share = _FLAC_SHARE if spec.format == "flac" else 1.0
    files = [share * size for size in audio] + [float(hints)]
    return items, items * sum(int(-(-size // _BLOCK)) * _BLOCK for size in files) + count * 2 * _MARKER


def check_space(root: Path, needed: int) -> int:
    """Free bytes where `root` is or will be. Raises `CorpusError` when there are too few for `needed`."""
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed + _SPARE > free:
        raise CorpusError(
            f"{root}: needs {readable(needed)}, but only {readable(free)} are free; free disk space, use fewer files "
            "(--max_files) or passes, set data.format to flac, or choose another data.output_dir."
        )
    return free


def readable(size: int) -> str:
    """A size in bytes, human-readable."""
    value, unit = float(size), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
