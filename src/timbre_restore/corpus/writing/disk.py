"""What a corpus needs on disk, said before the work starts."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from timbre_restore.audio import HINT_VALUES, HOP_SAMPLES, LEAD_SAMPLES, packed_stride
from timbre_restore.corpus.planning.plan import Take
from timbre_restore.corpus.spec import CorpusSpec
from timbre_restore.corpus.writing.packs import PART_BYTES
from timbre_restore.errors import CorpusError

_BLOCK = 4096  # what a file system gives out, to each of an item's files
_FLAC_SHARE = 0.75  # of the samples' size; noisy 16-bit speech at 48 kHz comes out at 0.5 to 0.7
_SPARE = 1 << 26  # markers, lists and tables of a small corpus, and air
_MARKER = 2048  # per take


def bytes_needed(spec: CorpusSpec, takes: Iterable[Take]) -> tuple[int, int]:
    """Items and bytes of these takes at most."""
    count = items = 0
    for take in takes:
        count += 1
        items += take.items_at_most(spec.segment)
    if spec.format == "packed":  # a part is made while its pieces are still there
        content = items * 2 * packed_stride(spec.segment, HOP_SAMPLES)
        return items, content + min(content, PART_BYTES) + count * 2 * _MARKER
    audio = [2 * spec.segment, 2 * spec.segment, 2 * (spec.segment + LEAD_SAMPLES)]
    hints = 2 * HINT_VALUES * (spec.segment // HOP_SAMPLES)
    share = _FLAC_SHARE if spec.format == "flac" else 1.0
    files = [share * size for size in audio] + [float(hints)]
    return items, items * sum(int(-(-size // _BLOCK)) * _BLOCK for size in files) + count * 2 * _MARKER


def check_space(root: Path, needed: int) -> int:
    """Bytes free where `root` lies or will lie. Raises `CorpusError` when they are fewer than `needed`."""
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed + _SPARE > free:
        raise CorpusError(
            f"{root}: needs {readable(needed)} and {readable(free)} are free there; free the disk, set fewer files "
            "(--max_files) or passes, data.format to flac, or choose another data.output_dir."
        )
    return free


def readable(size: int) -> str:
    """Bytes as people say them."""
    value, unit = float(size), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
