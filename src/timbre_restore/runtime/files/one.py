"""Restores one file or pipe from its source to its target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timbre_restore.audio import FloatArray
from timbre_restore.errors import AudioFileError
from timbre_restore.runtime.files.finish import Finish
from timbre_restore.runtime.files.formats import PIPE, OutputFormat, Raw
from timbre_restore.runtime.files.reading import STDIN, AudioSource, InputEnd, open_source
from timbre_restore.runtime.files.treatment import Treatment, Way
from timbre_restore.runtime.files.writing import Target, open_target


@dataclass(frozen=True)
class FileResult:
    """The result for one file: its length, and how many of its samples had to be limited to full scale."""

    target: Path
    seconds: float
    limited_samples: int
    repaired_samples: int = 0
    """Invalid samples of standard input that were replaced with silence."""
    dropped_bytes: int = 0
    """Bytes of an incomplete last sample, where the length was not known in advance."""


Heard = Callable[[float], None]
"""Takes the seconds of audio processed since it was last called; may raise to stop the work."""


def restore_file(
    source: Path,
    target: Path,
    treatment: Treatment,
    wanted: OutputFormat,
    *,
    raw: Raw | None = None,
    ending: InputEnd | None = None,
    heard: Heard,
) -> FileResult:
    """Restore one file or pipe, channel by channel; rate, channel count, length, time base and tags are kept.

    Memory use does not grow with the length, unless the suppressor only takes whole signals. Raises `AudioFileError`,
    and then leaves nothing behind.
    """
    if PIPE not in (source, target) and _same(source, target):
        raise AudioFileError(f"{target}: is the input itself; give another output, so that nothing is overwritten.")
    with open_source(source, raw, ending) as sound, open_target(target, sound, wanted) as writer:
        finish = Finish(writer.subtype, sound.sample_rate_hz, sound.channels)
        samples = _through(sound, treatment, finish, writer, heard)
        if samples == 0:
            raise AudioFileError(f"{STDIN if source == PIPE else source}: holds no samples.")
    seconds = samples / sound.sample_rate_hz
    return FileResult(target, seconds, finish.limited_samples, sound.repaired_samples, sound.dropped_bytes)


def _through(sound: AudioSource, treatment: Treatment, finish: Finish, writer: Target, heard: Heard) -> int:
    """Process everything from source to target; returns the number of samples per channel."""
    ways = [treatment.way(sound.sample_rate_hz) for _ in range(sound.channels)]
    taken = 0
    for block in sound.blocks:
        taken += len(block)
        writer.write(finish.push(_pushed(ways, block)))
        heard(len(block) / sound.sample_rate_hz if treatment.streams else 0.0)
    rest = []
    for way in ways:
        rest.append(way.flush())
        heard(0.0 if treatment.streams else taken / sound.sample_rate_hz / sound.channels)
    writer.write(finish.push(_joined(rest)))
    writer.write(finish.flush())
    return taken


def _pushed(ways: list[Way], block: FloatArray) -> FloatArray:
    return _joined([way.push(np.ascontiguousarray(block[:, channel])) for channel, way in enumerate(ways)])


def _joined(channels: list[FloatArray]) -> FloatArray:
    """`[T, C]`. Output lengths depend only on input lengths, so all channels have the same number of samples."""
    return np.stack(channels, axis=1)


def _same(source: Path, target: Path) -> bool:
    return target.exists() and source.exists() and target.samefile(source)
