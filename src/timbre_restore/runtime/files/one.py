"""One sound from its source to its target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timbre_restore.audio import FloatArray
from timbre_restore.errors import AudioFileError
from timbre_restore.runtime.files.finish import Finish
from timbre_restore.runtime.files.formats import PIPE, Raw, Wanted
from timbre_restore.runtime.files.reading import STDIN, Ending, Sound, open_sound
from timbre_restore.runtime.files.treatment import Treatment, Way
from timbre_restore.runtime.files.writing import Target, open_target


@dataclass(frozen=True)
class FileResult:
    """One restored sound: its length, and how many of its samples had to be limited to full scale."""

    target: Path
    seconds: float
    limited_samples: int
    mended_samples: int = 0
    """Samples of standard input that were no sound, taken for silence."""
    dropped_bytes: int = 0
    """Of a last sample that was not all there, where the length was not known before."""


Heard = Callable[[float], None]
"""Takes the seconds of sound that were worked on since it was last called; may raise to end the work."""


def restore_file(
    source: Path,
    target: Path,
    treatment: Treatment,
    wanted: Wanted,
    *,
    raw: Raw | None = None,
    ending: Ending | None = None,
    heard: Heard,
) -> FileResult:
    """Restore one file or pipe, channel by channel; rate, channel count, length and time base stay, tags come along.

    What is kept in memory does not grow with the length, unless the suppressor takes whole signals alone. Raises
    `AudioFileError`, and leaves nothing behind then.
    """
    if PIPE not in (source, target) and _same(source, target):
        raise AudioFileError(f"{target}: is the input itself; give another output, so that nothing is overwritten.")
    with open_sound(source, raw, ending) as sound, open_target(target, sound, wanted) as writer:
        finish = Finish(writer.subtype, sound.sample_rate_hz, sound.channels)
        samples = _through(sound, treatment, finish, writer, heard)
        if samples == 0:
            raise AudioFileError(f"{STDIN if source == PIPE else source}: holds no samples.")
    seconds = samples / sound.sample_rate_hz
    return FileResult(target, seconds, finish.limited_samples, sound.mended_samples, sound.dropped_bytes)


def _through(sound: Sound, treatment: Treatment, finish: Finish, writer: Target, heard: Heard) -> int:
    """Everything from source to target; the number of samples per channel comes back."""
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
    """`[T, C]`. Ways count samples and nothing else, so that all channels have as many."""
    return np.stack(channels, axis=1)


def _same(source: Path, target: Path) -> bool:
    return target.exists() and source.exists() and target.samefile(source)
