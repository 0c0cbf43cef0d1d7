"""Takes on disk: their files, and the markers that hold their rows. This runs in the workers."""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from timbre_restore.atomic import write_bytes, write_text
from timbre_restore.audio import HINT_VALUES, HOP_SAMPLES, LEAD_SAMPLES, SAMPLE_RATE_HZ, encoded
from timbre_restore.corpus.planning.draw import keeps_silent_item
from timbre_restore.corpus.planning.plan import Take, take_row
from timbre_restore.corpus.rendering.mix import Folders, Mixture, mix
from timbre_restore.corpus.rendering.rejects import TakeSkipped
from timbre_restore.corpus.rendering.render import Rendered, render
from timbre_restore.corpus.spec import CorpusSpec
from timbre_restore.corpus.table import table_text
from timbre_restore.corpus.writing.folder import AUDIO_ROLES, CorpusFolder, read_json
from timbre_restore.corpus.writing.packs import write_piece
from timbre_restore.errors import CorpusError
from timbre_restore.suppressors import Suppressor, SuppressorSettings, load_suppressor

SILENT_BELOW_ACTIVITY = 0.1
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_PART = 40
Marker = dict[str, Any]


@dataclass
class Maker:
    """Makes takes of one corpus; picklable, so that every worker process can have its own."""

    spec: CorpusSpec
    """With absolute folders."""
    root: Path
    settings_digest: str
    spent_s: dict[str, float] = field(default_factory=lambda: {"mix": 0.0, "write": 0.0, "suppress": 0.0})
    _open: dict[SuppressorSettings, Suppressor] = field(default_factory=dict)

    @cached_property
    def folder(self) -> CorpusFolder:
        """The folder's layout."""
        return CorpusFolder(self.root)

    @cached_property
    def _folders(self) -> Folders:
        sources = tuple(source.path for source in self.spec.sources)
        return Folders(sources, self.spec.noise_path, self.spec.ir_path)

    def make(self, takes: Sequence[Take]) -> Iterator[tuple[Take, Marker]]:
        """Render takes; write the files of each and then its marker, in order of completion.

        Raises `CorpusError` when the disk can't be written; a recording that gives no item is not an error.
        """
        for settings in dict.fromkeys(take.draw.suppressor for take in takes):
            own = [take for take in takes if take.draw.suppressor == settings]
            own.sort(key=lambda take: -take.items_at_most(1))  # longest first: keeps a suppressor's lanes full
            rendered = render(own, self._mix, self._suppressor(settings), self.spec.segment)
            while True:
                before, started = self.spent_s["mix"], time.perf_counter()
                take, made = next(rendered, (None, None))
                self.spent_s["suppress"] += time.perf_counter() - started - (self.spent_s["mix"] - before)
                if take is None or made is None:
                    break
                started = time.perf_counter()
                marker = self._write(take, made)
                self.spent_s["write"] += time.perf_counter() - started
                yield take, marker

    def digest(self, take: Take) -> str:
        """Digest of the settings and names that determine a take's content: a marker with another one is stale."""
        row = table_text((), [take_row(take)])
        return hashlib.sha256(f"{self.settings_digest}{row}".encode()).hexdigest()[:32]

    def finished(self, take: Take, packed: frozenset[tuple[str, str]]) -> Marker | None:
        """The marker of a take that needs no work (same draw, and every file it names is complete), or None.

        `packed` holds (id, digest) of the takes in packed files. A skipped take is tried again: its recording may have
        been fixed.
        """
        marker, digest = read_json(self.folder.take_marker(take.id)), self.digest(take)
        if marker is None or marker.get("digest") != digest or marker["skipped"] is not None:
            return None
        if (take.id, digest) in packed:
            return marker
        for relative, size in marker["files"].items():
            try:
                if (self.root / relative).stat().st_size != size:
                    return None
            except OSError:
                return None
        return marker

    def _mix(self, take: Take) -> Mixture:
        started = time.perf_counter()
        try:
            return mix(take, self._folders, self.spec.segment, LEAD_SAMPLES)
        finally:
            self.spent_s["mix"] += time.perf_counter() - started

    def _suppressor(self, settings: SuppressorSettings) -> Suppressor:
        if settings not in self._open:
            self._open[settings] = load_suppressor(settings)
        return self._open[settings]

    def _write(self, take: Take, made: Rendered | TakeSkipped) -> Marker:
        target = self.folder.take_marker(take.id)
        before = read_json(target) or {}
        marker: Marker = {"digest": self.digest(take), "items": [], "files": {}, "skipped": None}
        try:
            target.unlink(missing_ok=True)
            if isinstance(made, TakeSkipped):
                marker |= {"skipped": str(made), "rejected": made.rejects}
            else:
                marker |= {"rejected": made.rejects, "row": self._row(take, made)}
                kept = [i for i in range(len(made.clean)) if self._keeps(take, made, i)]
                marker["items"] = [
                    {"name": item_name(take, i), "index": i, "activity": round(float(made.activity[i]), 4)}
                    for i in kept
                ]
                marker["hints"] = made.hints is not None
                marker["files"] = self._write_items(take, made, kept)
            for relative in before.get("files", {}).keys() - marker["files"].keys():  # e.g. it changed sides
                (self.root / relative).unlink(missing_ok=True)
            write_text(target, json.dumps(marker))
        except OSError as exc:
            raise unwritable(self.root, exc) from exc
        return marker

    def _keeps(self, take: Take, made: Rendered, index: int) -> bool:
        return made.activity[index] >= SILENT_BELOW_ACTIVITY or keeps_silent_item(self.spec, take.key, index)

    def _write_items(self, take: Take, made: Rendered, kept: list[int]) -> dict[str, int]:
        """Write the kept items; returns relative path and size of every file."""
        if self.spec.format == "packed":
            none = np.full((self.spec.segment // HOP_SAMPLES, HINT_VALUES), np.nan, np.float16)
            hints = [none if made.hints is None else made.hints[i] for i in kept]
            items = zip(made.degraded[kept], made.clean[kept], made.noisy[kept], hints, strict=True)
            return write_piece(self.folder, take.id, [part for item in items for part in item])
        files: dict[str, int] = {}
        for i in kept:
            name = item_name(take, i)
            for role, samples in zip(AUDIO_ROLES, (made.degraded[i], made.clean[i], made.noisy[i]), strict=True):
                path = self.folder.item(take.split, role, name, self.spec.format)
                files |= self._write_file(path, encoded(samples, SAMPLE_RATE_HZ, self.spec.format))
            if made.hints is not None:
                buffer = io.BytesIO()
                np.save(buffer, made.hints[i], allow_pickle=False)
                files |= self._write_file(self.folder.item(take.split, "hints", name, "npy"), buffer.getvalue())
        return files

    def _write_file(self, path: Path, content: bytes) -> dict[str, int]:
        write_bytes(path, content)
        return {path.relative_to(self.root).as_posix(): len(content)}

    def _row(self, take: Take, made: Rendered) -> dict[str, Any]:
        applied, draw, recording = made.applied, take.draw, take.recording
        first, second = (*applied.noises, "", "")[:2]
        return {
            "take": take.id,
            "speaker": recording.speaker,
            "source": recording.source,
            "recording": recording.relative,
            "pass": take.pass_index,
            "part": take.part,
            "native_rate_hz": recording.rate_hz,
            "bandwidth_hz": applied.bandwidth_hz,
            "speech_level_dbfs": draw.speech_level_dbfs,
            "speech_gain_db": round(applied.speech_gain_db, 3),
            "snr_db": draw.snr_db if first else "inf",
            "noise": first,
            "noise_2": second,
            "noise_offset_samples": applied.noise_offset,
            "noise_gain_db": round(applied.noise_gain_db, 3),
            "room": applied.room,
            "pause_start_samples": applied.pause_start,
            "pause_s": draw.pause_s,
            "band_limit_hz": draw.band_limit_hz,
            "gain_db": round(made.gain_db, 3),
            "suppressor": draw.suppressor.name,
            "suppressor_build": self._suppressor(draw.suppressor).build,
            "attenuation_limit_db": draw.suppressor.attenuation_limit_db,
            "post_filter_beta": draw.suppressor.post_filter_beta,
        }


def unwritable(root: Path, exc: OSError) -> CorpusError:
    """The error for a full disk, or a folder without write permission."""
    return CorpusError(
        f"{root}: can't be written ({exc.strerror or exc}); free disk space or fix the permissions, then run the same "
        "command with --skip_existing."
    )


def item_name(take: Take, index: int) -> str:
    """A unique file name of `A-Z a-z 0-9 . _ -`; the hash distinguishes names that became equal by cleaning."""
    recording = take.recording
    speaker, stem = (_UNSAFE.sub("-", part)[:_NAME_PART] for part in (recording.speaker, recording.stem))
    key = f"{recording.source}\0{recording.relative}"
    tag = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    return f"{speaker.lstrip('.') or '-'}_{stem}_{tag}_{take.pass_index}-{take.part}_{index:04d}"
