"""Files and folders through suppressor and restorer: any rate and channel count in, the same out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import AUDIO_SUFFIXES, read_audio, read_info, resample, write_audio
from timbre_restore.errors import AudioFileError, TimbreRestoreError
from timbre_restore.runtime.chain import Chain
from timbre_restore.runtime.restorer import Restorer

FloatArray = NDArray[np.float32]
Suppress = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class FileResult:
    """One restored file: its length, and how many of its samples had to be limited to full scale."""

    target: Path
    seconds: float
    limited_samples: int


@dataclass
class RestoreSummary:
    """What became of every file; failures are sentences."""

    done: list[FileResult] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Audio restored, in seconds."""
        return sum(result.seconds for result in self.done)


def restore_path(
    source: Path,
    target: Path,
    *,
    restorer: Restorer,
    suppress: Suppress | Chain | None,
    strength: float | None = None,
    progress: Callable[[int, int, Path], None] = lambda _done, _all, _path: None,
) -> RestoreSummary:
    """Restore a file, or every wav and flac below a folder, hidden ones left out, into the same tree under `target`.

    `suppress` turns noisy `[T]` at 48 kHz into degraded, aligned and as long; a `Chain` of this restorer does both in
    one; None says that the input was suppressed before (a model that wants the noisy signal is then given the degraded
    one, for want of it). In a folder a bad file
    is reported in the summary and the others go on; a single bad file raises. `progress` gets (done, all, next file).
    """
    if not source.exists():
        raise AudioFileError(f"{source}: no such file or folder; check the path.")
    if source.is_file():
        place = target / source.name if target.is_dir() else target
        return RestoreSummary(done=[restore_file(source, place, restorer, suppress, strength)])
    if target.is_file():
        raise AudioFileError(f"{target}: is a file, and the input is a folder; give a folder as output.")
    if source.resolve() == target.resolve():
        raise AudioFileError(f"{target}: is the input folder itself; give another, so that nothing is overwritten.")
    summary = RestoreSummary()
    files = sorted(_audio_files(source, leaving_out=target, closed=summary.failed))
    if not files:
        raise AudioFileError(next(iter(summary.failed), f"{source}: holds no wav or flac file."))
    for index, file in enumerate(files):
        progress(index, len(files), file)
        try:
            place = target / file.relative_to(source)
            summary.done.append(restore_file(file, place, restorer, suppress, strength))
        except TimbreRestoreError as exc:
            summary.failed.append(str(exc))
    progress(len(files), len(files), target)
    return summary


def restore_file(
    source: Path, target: Path, restorer: Restorer, suppress: Suppress | Chain | None, strength: float | None
) -> FileResult:
    """Restore one file, channel by channel; rate, channel count, length and sample format stay."""
    if target.suffix.lower() not in AUDIO_SUFFIXES:
        raise AudioFileError(f"{target}: expected a name that ends in {' or '.join(AUDIO_SUFFIXES)}.")
    if target.exists() and source.resolve() == target.resolve():
        raise AudioFileError(f"{target}: is the input itself; give another output, so that nothing is overwritten.")
    samples, rate = read_audio(source)
    if samples.shape[1] == 0:
        raise AudioFileError(f"{source}: holds no samples.")
    restored = np.stack([_restore_channel(channel, rate, restorer, suppress, strength) for channel in samples])
    limited = int(np.count_nonzero(np.abs(restored) > 1.0))
    write_audio(target, np.clip(restored, -1.0, 1.0), rate, subtype=_subtype(source, target))
    return FileResult(target, samples.shape[1] / rate, limited)


def _restore_channel(
    channel: FloatArray, rate: int, restorer: Restorer, suppress: Suppress | Chain | None, strength: float | None
) -> FloatArray:
    noisy = resample(np.ascontiguousarray(channel), rate, restorer.sample_rate_hz)
    if isinstance(suppress, Chain):
        whole = suppress(noisy, strength=strength)
    else:
        degraded = noisy if suppress is None else suppress(noisy)
        whole = restorer(degraded, noisy, strength=strength)
    restored = resample(whole, restorer.sample_rate_hz, rate)
    # Resampling there and back may round the length by a sample.
    return np.pad(restored, (0, max(0, len(channel) - len(restored))))[: len(channel)]


def _subtype(source: Path, target: Path) -> str:
    """The source's sample format where the target's container has it, else 24 bit."""
    subtype = read_info(source).subtype
    allowed = {".wav": ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"), ".flac": ("PCM_16", "PCM_24")}
    return subtype if subtype in allowed[target.suffix.lower()] else "PCM_24"


def _audio_files(folder: Path, *, leaving_out: Path, closed: list[str]) -> Iterator[Path]:
    """Every wav and flac below `folder`; a sentence for each folder that can't be listed goes to `closed`.

    Links to folders are not followed, so a loop can't trap the walk. What is hidden is no recording: other systems'
    side files are named like sound, and so are the torn files of a killed run.
    """
    own = leaving_out.resolve()

    def refuse(exc: OSError) -> None:
        closed.append(f"{exc.filename}: can't be listed ({exc.strerror}); mend its permissions.")

    for root, folders, names in os.walk(folder, followlinks=False, onerror=refuse):
        here = Path(root)
        folders[:] = [name for name in folders if not name.startswith(".") and (here / name).resolve() != own]
        sounds = (name for name in names if Path(name).suffix.lower() in AUDIO_SUFFIXES)
        yield from (here / name for name in sounds if not name.startswith("."))
