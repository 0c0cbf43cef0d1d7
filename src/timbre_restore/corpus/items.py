"""One take on disk: its files, and the marker that holds its rows. This is what a worker runs."""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from timbre_restore.atomic import write_bytes, write_json
from timbre_restore.audio import SAMPLE_RATE_HZ
from timbre_restore.corpus.draw import draw_take, take_id
from timbre_restore.corpus.folder import ROLES, CorpusFolder, read_json
from timbre_restore.corpus.plan import Plan, Take
from timbre_restore.corpus.render import Rendered, TakeSkipped, render
from timbre_restore.corpus.spec import CorpusSpec, printable
from timbre_restore.errors import CorpusError
from timbre_restore.suppressors import Suppressor, load_suppressor

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_PART = 40


@dataclass(frozen=True)
class Maker:
    """Makes takes of one corpus; picklable, so that every worker process has its own."""

    spec: CorpusSpec
    plan: Plan
    """Only its noises and rooms are needed here."""
    root: Path
    suppressor_build: str

    @cached_property
    def folder(self) -> CorpusFolder:
        """The folder's layout."""
        return CorpusFolder(self.root)

    @cached_property
    def suppressor(self) -> Suppressor:
        """The suppressor, opened when the first take needs it."""
        return load_suppressor(self.spec.suppressor)

    def make(self, take: Take) -> dict[str, Any]:
        """Render a take, write its files, then its marker. Returns what the marker holds.

        Raises `CorpusError` when the disk does not take it; a recording that gives no item is no error.
        """
        spec = self.spec
        recording = spec.sources[take.recording.source].path / take.recording.relative
        draw = draw_take(spec, self.plan, take)
        marker: dict[str, Any] = {"digest": self.digest(take), "items": [], "skipped": None, "rejected": []}
        target = self.folder.take_marker(take_id(take))
        before = read_json(target) or {}
        try:
            made = render(recording, draw, spec.noise_path, spec.ir_path, self.suppressor, spec.segment)
        except TakeSkipped as exc:
            made = None
            marker["skipped"] = printable(str(exc))
        try:
            target.unlink(missing_ok=True)
            if made is not None:
                marker["rejected"] = [[printable(part) for part in entry] for entry in made.rejected]
                marker["row"] = self._row(take, draw.speech_level_dbfs, draw.snr_db, made)
                marker["items"] = [self._write_item(take, index, made) for index in range(len(made.degraded))]
            self._remove_stale(before, marker)
            write_json(target, marker)
        except OSError as exc:
            raise unwritable(self.root, exc) from exc
        return marker

    def digest(self, take: Take) -> str:
        """What a take's content follows from, as far as names and settings go: a marker with another one is stale."""
        content = [asdict(take), asdict(draw_take(self.spec, self.plan, take))]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def finished(self, take: Take) -> dict[str, Any] | None:
        """The marker of a take that needs no work: it is of this draw, and every file it names is whole.

        A take that was skipped is tried again: somebody may have mended its recording.
        """
        marker = read_json(self.folder.take_marker(take_id(take)))
        if marker is None or marker.get("digest") != self.digest(take) or marker["skipped"] is not None:
            return None
        for item in marker["items"]:
            for role in ROLES:
                path = self.folder.item(item["split"], role, item["name"], self.spec.format)
                try:
                    size = path.stat().st_size
                except OSError:
                    return None
                if size != item["bytes"][role]:
                    return None
        return marker

    def _write_item(self, take: Take, index: int, made: Rendered) -> dict[str, Any]:
        name = item_name(take, index)
        sizes = {}
        for role, samples in (("degraded", made.degraded), ("clean", made.clean), ("noisy", made.noisy)):
            content = encode(samples[index], self.spec.format)
            write_bytes(self.folder.item(take.split, role, name, self.spec.format), content)
            sizes[role] = len(content)
        return {"name": name, "split": take.split, "start": index * self.spec.segment, "bytes": sizes}

    def _remove_stale(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Files of an earlier marker that the new one does not name, e.g. when the split has moved the take."""
        kept = {(item["split"], item["name"]) for item in after["items"]}
        for item in before.get("items", []):
            if (item["split"], item["name"]) not in kept:
                for role in ROLES:
                    self.folder.item(item["split"], role, item["name"], self.spec.format).unlink(missing_ok=True)

    def _row(self, take: Take, level_dbfs: float, snr_db: float, made: Rendered) -> dict[str, Any]:
        applied = made.applied
        return {
            "speaker": printable(take.recording.speaker),
            "source": take.recording.source,
            "recording": printable(take.recording.relative),
            "pass": take.pass_index,
            "native_rate_hz": applied.native_rate_hz,
            "bandwidth_hz": applied.bandwidth_hz,
            "speech_level_dbfs": round(level_dbfs, 3),
            "speech_gain_db": round(applied.speech_gain_db, 3),
            "snr_db": round(snr_db, 3),
            "noise": printable(applied.noise),
            "noise_offset_samples": applied.noise_offset,
            "noise_gain_db": round(applied.noise_gain_db, 3),
            "room": printable(applied.room),
            "gain_db": round(applied.gain_db, 3),
            "suppressor": self.spec.suppressor.name,
            "suppressor_build": self.suppressor_build,
            "attenuation_limit_db": self.spec.suppressor.attenuation_limit_db,
            "post_filter_beta": self.spec.suppressor.post_filter_beta,
        }


def unwritable(root: Path, exc: OSError) -> CorpusError:
    """The sentence for a disk that is full, or a folder that is not ours."""
    return CorpusError(
        f"{root}: can't be written ({exc.strerror or exc}); free the disk or mend the permissions, then run the same "
        "command with --skip_existing."
    )


def item_name(take: Take, index: int) -> str:
    """A file name of `A-Z a-z 0-9 . _ -` that no other item has: the hash tells apart what cleaning made equal."""
    speaker, stem = (_UNSAFE.sub("-", part)[:_NAME_PART] for part in (take.recording.speaker, take.recording.stem))
    key = f"{take.recording.source}\0{take.recording.relative}"
    tag = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    return f"{speaker.lstrip('.') or '-'}_{stem}_{tag}_{take.pass_index}_{index:04d}"


def encode(samples: NDArray[np.int16], suffix: str) -> bytes:
    """A 16-bit mono file in memory: a full disk is then met by one plain write."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format=suffix.upper(), subtype="PCM_16")
    return buffer.getvalue()
