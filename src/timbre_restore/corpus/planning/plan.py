"""The plan: one row per take that fixes everything drawn, so that making a take needs only the row and the files.

Everyone who makes a corpus computes the same plan from the same spec and files, so shards, workers and machines need
not communicate. It is written as `plan.tsv`, from which any single take can be made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from timbre_restore.audio import SAMPLE_RATE_HZ
from timbre_restore.corpus.planning.draw import Draw, NoiseDraw, Variation, draw_take
from timbre_restore.corpus.planning.scan import Recording, SourceFile, scan_files, scan_source
from timbre_restore.corpus.planning.split import SPLITS, Split, ordered_recordings, split_recordings, split_sounds
from timbre_restore.corpus.spec import CorpusSpec
from timbre_restore.corpus.table import parse_table, table_text
from timbre_restore.errors import CorpusError
from timbre_restore.suppressors import SuppressorSettings

LONGEST_TAKE_S = 60
"""A longer recording is split into several takes, each with its own draw; no worker has to hold an hour of sound."""

PLAN_COLUMNS = (
    "take", "split", "source", "recording", "speaker", "native_rate_hz", "samples", "pass", "part", "start", "length",
    "speech_level_dbfs", "snr_db", "rooms", "noises", "pause_s", "pause_position", "band_limit_hz", "voice",
    "suppressor",
)  # fmt: skip


@dataclass(frozen=True)
class Take:
    """One recording (or up to a minute of a long one) with one draw: the unit of planning, sharding and resuming."""

    recording: Recording
    split: Split
    pass_index: int
    part: int
    start: int
    """First sample; like `length`, at the recording's own rate."""
    length: int
    draw: Draw

    @property
    def key(self) -> str:
        """Its name for hashing: independent of where the folders are."""
        return take_key(self.recording, self.pass_index, self.part)

    @cached_property
    def id(self) -> str:
        """Short, unique, and valid as a file name on every file system."""
        return hashlib.sha256(os.fsencode(self.key)).hexdigest()[:20]

    @property
    def played_rate_hz(self) -> int:
        """The rate its samples are treated as having: the recording's own, or another one that changes the voice."""
        return round(self.recording.rate_hz * self.draw.voice.speed)

    def items_at_most(self, segment: int) -> int:
        """Upper bound of the items it gives: none is left out."""
        if not self.recording.rate_hz:
            return 0
        samples = self.length * SAMPLE_RATE_HZ // self.played_rate_hz + round(self.draw.pause_s * SAMPLE_RATE_HZ)
        return samples // segment


@dataclass(frozen=True)
class Plan:
    """All takes to be made, in order."""

    takes: tuple[Take, ...]
    warnings: tuple[str, ...]

    @cached_property
    def text(self) -> str:
        """The table, as written to `plan.tsv`."""
        return table_text(PLAN_COLUMNS, (take_row(take) for take in self.takes))

    @cached_property
    def digest(self) -> str:
        """Equal for shards of the same corpus."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def take_key(recording: Recording, pass_index: int, part: int) -> str:
    """What a take's draw and id are derived from."""
    return f"{recording.source}\0{recording.relative}\0{pass_index}\0{part}"


def scan_and_plan(spec: CorpusSpec, root: Path, max_files: int | None) -> Plan:
    """Scan all folders and plan what to make."""
    warnings: list[str] = []
    recordings = [r for index, source in enumerate(spec.sources) for r in scan_source(index, source, root, warnings)]
    noises = [] if spec.noise_path is None else scan_files(spec.noise_path, root, warnings)
    rooms = [] if spec.ir_path is None else scan_files(spec.ir_path, root, warnings)
    plan = make_plan(spec, recordings, noises, rooms, max_files=max_files)
    return replace(plan, warnings=(*warnings, *plan.warnings))


def make_plan(
    spec: CorpusSpec,
    recordings: Sequence[Recording],
    noises: Sequence[SourceFile],
    rooms: Sequence[SourceFile],
    *,
    max_files: int | None = None,
) -> Plan:
    """The plan of the whole corpus, or of its first `max_files` recordings; a larger number only adds."""
    warnings: list[str] = []
    if spec.noise_path is not None and not noises:
        raise CorpusError(f"{spec.noise_path}: contains no wav or flac file; check data.noise_path.")
    if spec.ir_path is not None and not rooms and spec.room_probability > 0:
        warnings.append(f"{spec.ir_path}: contains no wav or flac file, so no take gets a room")
    if spec.ir_path is None and not rooms and spec.room_probability > 0 and not spec.variety.made_room:
        warnings.append("data.ir_path is null and data.variety.made_room is 0, so no take gets a room")
    recording_sides = split_recordings(spec, recordings, warnings)
    chosen = ordered_recordings(spec, recording_sides)[:max_files]
    validated = bool(recording_sides["val"])
    noise_sides = split_sounds(spec, "noise", noises, spec.val_noises, warnings, validated=validated)
    room_sides = split_sounds(spec, "room", rooms, spec.val_rooms, warnings, validated=validated)
    takes = []
    for pass_index in range(spec.passes):
        for recording, split in chosen:
            for part, (start, length) in enumerate(_parts(recording)):
                key = take_key(recording, pass_index, part)
                draw = draw_take(spec, key, split, noise_sides[split], room_sides[split])
                takes.append(Take(recording, split, pass_index, part, start, length, draw))
    return Plan(tuple(takes), tuple(warnings))


def take_row(take: Take) -> list[Any]:
    """The take's values for `PLAN_COLUMNS`; compound values are JSON."""
    recording, draw = take.recording, take.draw
    return [
        take.id, take.split, recording.source, recording.relative, recording.speaker, recording.rate_hz,
        recording.samples, take.pass_index, take.part, take.start, take.length, draw.speech_level_dbfs, draw.snr_db,
        _json(draw.rooms), _json([asdict(noise) for noise in draw.noises]), draw.pause_s, draw.pause_position,
        draw.band_limit_hz, _json(asdict(draw.voice)), _json(asdict(draw.suppressor)),
    ]  # fmt: skip


def read_plan(path: Path) -> list[Take]:
    """The takes of a `plan.tsv`. Raises `CorpusError` when it is missing or can't be read."""
    try:
        return [_parsed(row) for row in parse_table(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise CorpusError(f"{path}: can't be read as a plan ({reason}); prepare the corpus again.") from exc


def _parsed(row: dict[str, str]) -> Take:
    if row["split"] not in SPLITS:
        raise ValueError(f"unknown split '{row['split']}'")
    split: Split = "val" if row["split"] == "val" else "train"
    recording = Recording(
        int(row["source"]), row["recording"], row["speaker"], int(row["native_rate_hz"]), int(row["samples"])
    )
    noises = [
        NoiseDraw(tuple(noise["names"]), noise["position"], noise["level_db"], Variation(**noise["variation"]))
        for noise in json.loads(row["noises"])
    ]
    draw = Draw(
        float(row["speech_level_dbfs"]), float(row["snr_db"]), tuple(json.loads(row["rooms"])), tuple(noises),
        float(row["pause_s"]), float(row["pause_position"]), int(row["band_limit_hz"]),
        Variation(**json.loads(row["voice"])), SuppressorSettings(**json.loads(row["suppressor"])),
    )  # fmt: skip
    return Take(recording, split, int(row["pass"]), int(row["part"]), int(row["start"]), int(row["length"]), draw)


def _parts(recording: Recording) -> list[tuple[int, int]]:
    """Start and length of each take of a recording, as equal in length as whole samples allow."""
    longest = LONGEST_TAKE_S * recording.rate_hz
    count = max(1, -(-recording.samples // longest)) if longest else 1
    edges = [recording.samples * part // count for part in range(count + 1)]
    return [(start, end - start) for start, end in pairwise(edges)]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
