"""What a corpus is made of, and the result of making it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from timbre_restore.audio import printable
from timbre_restore.errors import CorpusError
from timbre_restore.suppressors import SuppressorSettings, describe_suppressor

FORMAT_VERSION = 5
"""Increased when equal settings would make different items than before."""


@dataclass(frozen=True)
class SourceSpec:
    """A folder of clean speech; a file's parent folder names its speaker."""

    path: Path
    weight: float = 1.0
    pattern: str | None = None
    """File name pattern; None takes every wav and flac file."""


@dataclass(frozen=True)
class Variety:
    """Probabilities of unusual conditions in a take."""

    two_noises: float = 0.2
    clean_input: float = 0.05
    """No noise at all: what the suppressor takes from a clean voice should be restored too."""
    made_noise: float = 0.15
    varied_noise: float = 0.5
    """At another speed, filtered, sometimes reversed."""
    varied_voice: float = 0.0
    """At another speed, which also shifts pitch and formants, and filtered. Off by default: a corpus of many speakers
    needs no additional ones, and a corpus of one speaker would no longer hold that person's voice."""
    made_room: float = 0.0
    """Of the takes in a room, the share in a synthetic one. Nothing synthetic or varied goes to validation."""
    pause: float = 0.1
    """A second or more without voice is inserted, while noise and reverberation continue."""
    band_limit: float = 0.05
    silent_items: float = 0.25
    """Share of the items with almost no voice that is kept."""


@dataclass(frozen=True)
class CorpusSpec:
    """Everything that determines the items. Equal specs over equal files give equal bytes."""

    sources: tuple[SourceSpec, ...]
    noise_path: Path | None
    """None: synthetic noise only."""
    ir_path: Path | None = None
    seed: int = 0
    passes: int = 1
    """How many times each recording is used; a larger number only adds takes."""
    segment: int = 48_000
    """Samples per item, a multiple of one hop."""
    snr_db: tuple[float, float] = (-5.0, 40.0)
    speech_level_dbfs: tuple[float, float] = (-45.0, -15.0)
    room_probability: float = 0.5
    val_fraction: float = 0.1
    val_speakers: Sequence[str] | None = None
    val_noises: Sequence[str] | None = None
    val_rooms: Sequence[str] | None = None
    format: Literal["wav", "flac", "packed"] = "wav"
    variety: Variety = field(default_factory=Variety)
    suppressors: tuple[tuple[SuppressorSettings, float], ...] = ((SuppressorSettings(), 1.0),)
    """(settings, weight); every take draws one."""

    def absolute(self) -> CorpusSpec:
        """A copy with absolute folders, so that they mean the same from any working directory."""
        sources = tuple(replace(source, path=source.path.absolute()) for source in self.sources)
        noises, rooms = (folder and folder.absolute() for folder in (self.noise_path, self.ir_path))
        return replace(self, sources=sources, noise_path=noises, ir_path=rooms)

    def settings(self) -> dict[str, Any]:
        """What must be equal for two runs to share a folder, as JSON values; `passes`, which only adds, is omitted."""
        values = {key: _plain(value) for key, value in asdict(self.absolute()).items() if key != "passes"}
        builds = [describe_suppressor(settings) for settings, _ in self.suppressors]
        return {**values, "suppressor_builds": builds, "format_version": FORMAT_VERSION}


@dataclass
class PrepareSummary:
    """What one call made. Counts are for this call's shard; the lists cover the whole corpus."""

    output_dir: Path
    items_train: int = 0
    items_val: int = 0
    takes: int = 0
    rendered: int = 0
    """Takes made by this call; the others existed already."""
    skipped: int = 0
    seconds: float = 0.0
    lists_written: bool = False
    """False while other shards are not finished."""
    warnings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Human-readable summary."""
        minutes = max(self.seconds, 1e-9) / 60.0
        items = self.items_train + self.items_val
        lines = [
            f"{items} items ({self.items_train} train, {self.items_val} val) from {self.takes - self.skipped} of "
            f"{self.takes} takes in {self.seconds:.0f} s"
            + (f", {items / minutes:.0f} items/min" if self.rendered == self.takes else f", {self.rendered} made now"),
        ]
        if self.skipped:
            where = "are" if self.lists_written else "will be"
            lines.append(f"{self.skipped} takes skipped; the reasons {where} in {self.output_dir / 'skipped.tsv'}")
        if not self.lists_written:
            lines.append("the lists will be written when the other shards are done")
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings])


def check_output_dir(output_dir: Path) -> Path:
    """The absolute folder. Raises `CorpusError` when lists could not name files inside it."""
    absolute = output_dir.absolute()
    name = str(absolute)
    if "|" in name or len(name.splitlines()) != 1 or printable(name) != name:
        raise CorpusError(
            f"{printable(name)!r}: the folder's name must be valid text without '|' or line breaks, because lists hold "
            "it; choose another."
        )
    return absolute


def _plain(value: Any) -> Any:
    """The value as JSON would return it, so that stored and current settings can be compared."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return printable(str(value)) if isinstance(value, Path) else value
