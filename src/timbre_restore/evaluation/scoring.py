"""One item: its signals, every system's output, and the scores.

One gain per item, from its clean file (or from the noisy one if there is none), is applied to all its signals before
anything is measured.

Resolution: if that file has 16 bits, every output is rounded to 16 bits first, as saving it to a file would do.
Otherwise a system that runs in this process, whose output is finer, would "lack" the rounding noise that such a
reference holds above its own low-pass, while a system whose outputs come as files would not.

Time: every output must start with its input. The lag of `degraded` is measured against `noisy`, that of a system
against `degraded`; any lag other than 0 is a failure of ours and stays in the scores. A foreign system may be late or
inverted, and may keep what `degraded` lost: its lag behind `noisy` is recorded and removed. A silent signal has no lag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, bandwidth_hz, encoded, from_pcm, lag_and_share, to_pcm
from timbre_restore.errors import AudioFileError, SuppressorError
from timbre_restore.evaluation.cache import Cache
from timbre_restore.evaluation.curve import of_limits, of_strengths
from timbre_restore.evaluation.facts import LIMIT_FACT, SUPPRESSOR_FACT
from timbre_restore.evaluation.items import Item, ItemAudio, load_item
from timbre_restore.evaluation.results import CLEAN, DEGRADED, NOISY, Clip, ItemResult, Judged, Point, SystemResult
from timbre_restore.evaluation.systems import DFN3, Inputs, Limited, MissingOutputError, Run, Source, Suppress, System
from timbre_restore.metrics import Metric, Score, is_silent, item_gain, score_alone, score_pair
from timbre_restore.metrics.sharing import sharing
from timbre_restore.suppressors import NO_LIMIT_DB

CLIP_SECONDS = 5.0
CLIP_GAIN = np.float32(0.25)
"""Headroom for the peaks of a voice at the item's level, which a 16-bit file would clip."""
SHARED_SECONDS = 60
LARGEST_LAG, LARGEST_FOREIGN_LAG = SAMPLE_RATE_HZ // 10, SAMPLE_RATE_HZ
"""How far an output of ours, and of a system that is not, is looked for beside its input, in samples."""
LEAST_SHARE = 0.01
"""Smallest share of an input in its output for a meaningful lag. A part that is left unchanged has a share equal to
its fraction of the whole energy: here, an output 20 dB lower."""
FULLER_HZ = 2000
"""An output that extends this far above the end of its reference has more bandwidth: its upper rates mean little."""


@dataclass(frozen=True)
class Desk:
    """Everything that items are judged by; plain data, so that it can be passed to worker processes."""

    source: Source | None
    systems: tuple[System, ...]
    metrics: tuple[Metric, ...]
    cache: Cache | None = None
    with_clips: bool = False


class Judge:
    """Judges items in one process; what a system needs is loaded with the first item that isn't cached."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._suppress: Suppress | None = None
        self._open: dict[str, Run] = {}

    def __call__(self, item: Item) -> ItemResult:
        """Raises `AudioFileError`, `CorpusError` or `SuppressorError` for an item that can't be judged at all."""
        return _Case(self, item).result()

    def suppressed(self, noisy: FloatArray) -> FloatArray:
        if self._suppress is None:
            assert self.desk.source is not None
            self._suppress = self.desk.source.open()
        return self._suppress(noisy)

    def output(self, system: System, given: Inputs) -> FloatArray:
        key = f"{system.name} {system.identity}"
        if key not in self._open:
            self._open[key] = system.open()
        return self._open[key](given)


@dataclass(frozen=True)
class _Output:
    """A system's signal `[T]`, or None if it is unusable; its lag; what is wrong with it, or an empty string."""

    samples: FloatArray | None
    lag: int | None = None
    problem: str = ""
    missing: bool = False


class _Case:
    """The item being judged."""

    def __init__(self, judge: Judge, item: Item) -> None:
        self.judge, self.desk, self.item = judge, judge.desk, item
        self.audio: ItemAudio = load_item(item)
        voice = self.audio.noisy if self.audio.clean is None else self.audio.clean
        self.gain = np.float32(item_gain(voice))
        self.clean = None if self.audio.clean is None else self.audio.clean * self.gain
        self.start, self.samples = _loudest_start(voice), len(voice)
        self._kept: dict[str, FloatArray] = {}

    @cached_property
    def degraded(self) -> FloatArray:
        """Computed only if something is not cached. Raises `SuppressorError` if there is nothing to restore from."""
        degraded = self.audio.degraded
        if degraded is None:
            degraded = self.judge.suppressed(self.audio.noisy)
        found = _checked(degraded, self.audio.noisy)
        if found.samples is None:
            raise SuppressorError(f"{self.item.stem}: the suppressor's output can't be used: it {found.problem}.")
        return degraded

    @cached_property
    def content(self) -> str:
        """A digest of the item's signals and, if it has no degraded one, of what makes it."""
        digest = hashlib.sha256()
        for signal in (self.audio.noisy, self.audio.clean, self.audio.degraded):
            digest.update(b"none" if signal is None else hashlib.sha256(signal.tobytes()).digest())
        if self.audio.degraded is None:
            digest.update(self.desk.source.identity.encode() if self.desk.source else b"")
        return digest.hexdigest()

    def result(self) -> ItemResult:
        # Shared results stay in memory; for a long item that would cost more than it saves.
        with sharing() if self.samples <= SHARED_SECONDS * SAMPLE_RATE_HZ else nullcontext():
            return self._result()

    def _result(self) -> ItemResult:
        results, sounds, widest = {}, {}, 0
        for name, system in ((NOISY, None), (DEGRADED, None), *((s.name, s) for s in self.desk.systems)):
            own = replace(system, floor_db=self._floor_db) if isinstance(system, Limited) else system
            judged = self._judged(name, own)
            results[name] = judged.result
            if name != NOISY:
                widest = max(widest, judged.bandwidth_hz)
            if judged.sound:
                sounds[name] = judged.sound
        if self.desk.with_clips and self.audio.clean is not None:
            sounds[CLEAN] = self._excerpt(self.audio.clean)
        clip = Clip(self.start / SAMPLE_RATE_HZ, sounds) if self.desk.with_clips else None
        seconds = self.samples / SAMPLE_RATE_HZ
        return ItemResult(self.item.stem, seconds, results, self.item.facts, self._remarks(widest), clip)

    def _judged(self, name: str, system: System | None) -> Judged:
        identity = name if system is None else system.identity
        if system and system.foreign:  # its output is found by the item's name
            identity = identity and f"{identity} {self.item.stem}"
        keep = self.desk.cache if identity and (self.audio.degraded is not None or self._source_is_known) else None
        audio = self.audio
        key = (
            f"{self.content} {audio.is_16_bit} {audio.native_rate_hz} {audio.channel} {identity} {self.start} "
            f"{self._floor_db:g} {self._is_dfn3}"
        )
        kept = keep.get(key) if keep else None
        wanted = [m for m in self.desk.metrics if kept is None or m.key not in kept.result.scores]
        if kept and not wanted and (kept.sound or not self.desk.with_clips or not kept.usable):
            return replace(kept, result=_only(kept.result, self.desk.metrics))
        output = self._run(name, system)
        scores = dict(kept.result.scores) if kept else {}
        given = None if output.samples is None else self._judgeable(name, output.samples)
        scores |= self._scores(given, output.problem, wanted)
        curve = kept.result.curve if kept else self._curve(output.samples, name, system)
        sound = self._excerpt(output.samples) if self.desk.with_clips and output.samples is not None else b""
        width = bandwidth_hz(output.samples, SAMPLE_RATE_HZ) if output.samples is not None else 0
        result = SystemResult(scores, output.lag, output.problem, output.missing, curve)
        judged = Judged(result, sound, width, output.samples is not None)
        if keep:
            keep.put(key, judged)
        return replace(judged, result=_only(result, self.desk.metrics))

    @property
    def _source_is_known(self) -> bool:
        return bool(self.desk.source and self.desk.source.identity)

    @property
    def _floor_db(self) -> float:
        """The limit that `degraded` has: from the table of the corpus if given there, else from the configuration."""
        told = self.item.facts.get(LIMIT_FACT)
        if self.audio.degraded is not None and isinstance(told, float):
            return told
        return self.desk.source.limit_db if self.desk.source else NO_LIMIT_DB

    @property
    def _is_dfn3(self) -> bool:
        """Whether an output with a lower limit can be made from `degraded`: other suppressors have no limit."""
        if self.audio.degraded is None:
            return self.desk.source is not None and self.desk.source.name == DFN3
        return self.item.facts.get(SUPPRESSOR_FACT, DFN3) == DFN3

    def _run(self, name: str, system: System | None) -> _Output:
        noisy = self.audio.noisy
        if name == NOISY:
            return _Output(noisy)
        if system is None:
            return _checked(self.degraded, noisy)
        if isinstance(system, Limited) and (system.limit_db >= system.floor_db or not self._is_dfn3):
            has = f"already has a limit of {system.floor_db:g} dB" if self._is_dfn3 else "is from another suppressor"
            return _Output(None, problem=f"can't be made because degraded {has}", missing=True)
        try:
            made = self.judge.output(system, Inputs(noisy, self.degraded, self.item.stem, self.audio.channel))
        except MissingOutputError:
            return _Output(None, problem="is missing", missing=True)
        except AudioFileError as exc:
            if not system.foreign:
                raise
            return _Output(None, problem=f"can't be read ({exc})")
        return _aligned(_checked(made, noisy, foreign=True)) if system.foreign else _checked(made, self.degraded)

    def _judgeable(self, name: str, samples: FloatArray) -> FloatArray:
        """See `_at_level`; noisy and degraded give the same array each time, so that results on them are shared."""
        if name not in (NOISY, DEGRADED):
            return self._at_level(samples)
        if name not in self._kept:
            self._kept[name] = self._at_level(samples)
        return self._kept[name]

    def _at_level(self, samples: FloatArray) -> FloatArray:
        """The samples in the reference's resolution, at the item's level."""
        return (from_pcm(to_pcm(samples)) if self.audio.is_16_bit else samples) * self.gain

    def _scores(self, given: FloatArray | None, problem: str, metrics: Sequence[Metric]) -> Mapping[str, Score]:
        if given is None:
            return {m.key: Score(None, f"the output {problem}") for m in metrics}
        rate = self.audio.native_rate_hz
        deaf = {m.key: _too_low(m, rate) for m in metrics if rate < m.needs_rate_hz}
        heard = [m for m in metrics if m.key not in deaf]
        return (score_alone(given, heard) if self.clean is None else score_pair(given, self.clean, heard)) | deaf

    def _curve(self, output: FloatArray | None, name: str, system: System | None) -> Sequence[Point]:
        if output is None or self.clean is None or is_silent(self.clean):
            return ()
        if name == DEGRADED:
            if not self._is_dfn3:
                return ()
            return of_limits(self.audio.noisy, output, self.clean, self._floor_db, self._at_level)
        if system is None or not system.strength:
            return ()
        return of_strengths(self.degraded, output, self.clean, system.strength, self._at_level)

    def _excerpt(self, samples: FloatArray) -> bytes:
        part = samples[self.start : self.start + int(CLIP_SECONDS * SAMPLE_RATE_HZ)] * (self.gain * CLIP_GAIN)
        return encoded(np.clip(part, -1.0, 1.0), SAMPLE_RATE_HZ, "flac")

    def _remarks(self, widest_hz: int) -> Sequence[str]:
        clean = self.audio.clean
        ends = bandwidth_hz(clean, SAMPLE_RATE_HZ) if clean is not None and not is_silent(clean) else 0
        if ends and widest_hz > ends + FULLER_HZ and widest_hz > 8000:
            return (f"the reference ends at {ends / 1000:.1f} kHz, an output reaches {widest_hz / 1000:.1f} kHz",)
        return ()


def _only(result: SystemResult, metrics: Sequence[Metric]) -> SystemResult:
    """Drop the cached values of metrics that were not asked for."""
    scores = {m.key: result.scores[m.key] for m in metrics}
    return SystemResult(scores, result.lag_samples, result.problem, result.missing, result.curve)


def _checked(samples: FloatArray, source: FloatArray, *, foreign: bool = False) -> _Output:
    if samples.shape != source.shape:
        expected = list(source.shape)
        return _Output(None, problem=f"has the shape {list(samples.shape)} instead of {expected}")
    if not np.isfinite(samples).all():
        return _Output(None, problem="holds NaN or infinite samples")
    if is_silent(samples) or is_silent(source):
        return _Output(samples)
    # Sample-to-sample differences: in plain waveforms hum and rumble, whose phase filters shift, would dominate.
    furthest = LARGEST_FOREIGN_LAG if foreign else LARGEST_LAG
    lag, share = lag_and_share(np.diff(samples), np.diff(source), max_lag=furthest, either_sign=foreign)
    if abs(share) < LEAST_SHARE:
        return _Output(samples)
    if foreign and abs(lag) == furthest:
        return _Output(None, problem=f"lies {furthest / SAMPLE_RATE_HZ:g} s or more beside its input")
    side = "behind" if lag > 0 else "ahead of"
    return _Output(samples, lag, f"lies {abs(lag)} samples {side} its input" if lag else "")


def _aligned(output: _Output) -> _Output:
    """A foreign system's output shifted to lag 0, zero-padded; the lag stays on record."""
    if output.samples is None or not output.lag:
        return output
    moved = np.zeros_like(output.samples)
    if output.lag > 0:
        moved[: -output.lag] = output.samples[output.lag :]
    else:
        moved[-output.lag :] = output.samples[: output.lag]
    return _Output(moved, output.lag)


def _too_low(metric: Metric, rate_hz: int) -> Score:
    return Score(None, f"the recording is at {rate_hz} Hz, below the {metric.needs_rate_hz} Hz that this metric needs")


def _loudest_start(clean: FloatArray) -> int:
    """Start sample of the excerpt with the most clean energy, on whole seconds."""
    length = int(CLIP_SECONDS * SAMPLE_RATE_HZ)
    starts = range(0, max(1, len(clean) - length + 1), SAMPLE_RATE_HZ)
    return max(starts, key=lambda at: float(np.sum(clean[at : at + length] ** 2)))
