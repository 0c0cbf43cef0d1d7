"""Run the systems over the items and score them.

Systems, in this order: `noisy`, `degraded` (the suppressor), `restored` (ours), then the extra ones by name. One gain
per item, from its clean file, goes to all its signals before anything is measured.

Time: every output must start with its input. The lag of `degraded` is measured against `noisy`, that of `restored`
against `degraded`; any other than 0 is a failure of ours and stays in the scores. A foreign system may be late: its
lag against `degraded` is recorded and taken out. A silent signal has no lag.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, lag_samples
from timbre_restore.errors import CorpusError, SuppressorError
from timbre_restore.evaluation.items import Item, ItemAudio, load_item
from timbre_restore.evaluation.results import (
    CLEAN,
    DEGRADED,
    NOISY,
    RESTORED,
    Clip,
    Evaluation,
    Failure,
    ItemResult,
    SystemResult,
)
from timbre_restore.metrics import DEFAULT_SET, Metric, Score, is_silent, item_gain, score_pair

KEPT_ITEMS = 12
CLIP_SECONDS = 5.0

Suppress = Callable[[FloatArray], FloatArray]
"""Noisy float32 `[T]` at 48 kHz to degraded `[T]`, delay removed."""
Restore = Callable[[FloatArray, FloatArray], FloatArray]
"""(degraded, noisy), float32 `[T]` at 48 kHz each, sample n of both the same instant, to restored `[T]`."""
System = Callable[[FloatArray, FloatArray], FloatArray]
"""(noisy, degraded), as above, to the output of another system `[T]`."""
Progress = Callable[[int, int, str], None]
"""Called with (items done, items in all, stem of the item just done)."""


def evaluate(
    items: Sequence[Item],
    suppressor: Suppress | None,
    restore: Restore,
    *,
    progress: Progress | None = None,
    extra_systems: Mapping[str, System] | None = None,
    metrics: Sequence[Metric] = DEFAULT_SET,
) -> Evaluation:
    """Score noisy, degraded, restored and the extra systems against clean on every item.

    An item that names a degraded file uses it; `suppressor` makes the others'. Raises `CorpusError` when there is
    nothing to do or an item has neither, `AudioFileError` for a file that can't be read.
    """
    extras = dict(extra_systems or {})
    _check(items, suppressor, extras)
    results: list[ItemResult] = []
    failures: list[Failure] = []
    clips: list[tuple[float, Clip]] = []
    for item in items:
        audio = load_item(item)
        outputs = _run(item, audio, suppressor, restore, extras)
        result = _score(item, audio, outputs, metrics)
        results.append(result)
        failures += [Failure(item.stem, name, out.problem) for name, out in outputs.items() if out.problem]
        _keep(clips, _clip(item.stem, audio, outputs), result.change(RESTORED, "osr"))
        if progress:
            progress(len(results), len(items), item.stem)
    systems = (NOISY, DEGRADED, RESTORED, *extras)
    return Evaluation(tuple(metrics), systems, tuple(results), tuple(failures), tuple(clip for _, clip in clips))


def _check(items: Sequence[Item], suppressor: Suppress | None, extras: Mapping[str, System]) -> None:
    if not items:
        raise CorpusError("there is no item to evaluate; name a folder with noisy/ and clean/, or a list.")
    without = [item.stem for item in items if item.degraded is None]
    if without and suppressor is None:
        raise CorpusError(f"{without[0]}: has no degraded file and no suppressor was given to make one.")
    twice = [stem for stem, count in Counter(item.stem for item in items).items() if count > 1]
    if twice:
        raise CorpusError(f"{', '.join(twice[:5])}: more than one item has this name; scores are kept by name.")
    if taken := extras.keys() & {NOISY, DEGRADED, RESTORED, CLEAN}:
        raise ValueError(f"an extra system can't be named {', '.join(sorted(taken))}")


@dataclass(frozen=True)
class _Output:
    """A system's signal `[T]`, None when it is not usable; its lag; what is wrong with it, or nothing."""

    samples: FloatArray | None
    lag: int | None = None
    problem: str = ""


def _run(
    item: Item, audio: ItemAudio, suppressor: Suppress | None, restore: Restore, extras: Mapping[str, System]
) -> dict[str, _Output]:
    """Every system's output on one item. Raises `SuppressorError` when there is nothing to restore from."""
    noisy, degraded = audio.noisy, audio.degraded
    if degraded is None and suppressor is not None:
        degraded = suppressor(noisy)
    if degraded is None or _checked(degraded, noisy).samples is None:
        problem = "is missing" if degraded is None else _checked(degraded, noisy).problem
        raise SuppressorError(f"{item.stem}: the suppressor's output can't be used: it {problem}.")
    outputs = {
        NOISY: _Output(noisy),
        DEGRADED: _checked(degraded, noisy),
        RESTORED: _checked(restore(degraded, noisy), degraded),
    }
    return outputs | {name: _aligned(_checked(run(noisy, degraded), degraded)) for name, run in extras.items()}


def _checked(samples: FloatArray, source: FloatArray) -> _Output:
    if samples.shape != source.shape:
        expected = list(source.shape)
        return _Output(None, problem=f"has the shape {list(samples.shape)} where {expected} was expected")
    if not np.isfinite(samples).all():
        return _Output(None, problem="holds NaN or infinite samples")
    if is_silent(samples) or is_silent(source):
        return _Output(samples)
    lag = lag_samples(samples, source)
    return _Output(samples, lag, f"lies {lag} samples behind its input" if lag else "")


def _aligned(output: _Output) -> _Output:
    """A foreign system's output moved to lag 0, the gap filled with zeros; the lag stays on record."""
    if output.samples is None or not output.lag:
        return output
    moved = np.zeros_like(output.samples)
    if output.lag > 0:
        moved[: -output.lag] = output.samples[output.lag :]
    else:
        moved[-output.lag :] = output.samples[: output.lag]
    return _Output(moved, output.lag)


def _score(item: Item, audio: ItemAudio, outputs: Mapping[str, _Output], metrics: Sequence[Metric]) -> ItemResult:
    gain = np.float32(item_gain(audio.clean))
    clean = audio.clean * gain
    deaf = {m.key: _too_low(m, audio.native_rate_hz) for m in metrics if audio.native_rate_hz < m.needs_rate_hz}
    heard = [m for m in metrics if m.key not in deaf]
    systems = {}
    for name, output in outputs.items():
        if output.samples is None:
            scores = {m.key: Score(None, f"the output {output.problem}") for m in metrics}
        else:
            scores = score_pair(output.samples * gain, clean, heard) | deaf
        systems[name] = SystemResult(scores, output.lag)
    return ItemResult(item.stem, len(clean) / SAMPLE_RATE_HZ, systems)


def _too_low(metric: Metric, rate_hz: int) -> Score:
    return Score(None, f"the recording is at {rate_hz} Hz, below the {metric.needs_rate_hz} Hz that this needs")


def _keep(kept: list[tuple[float, Clip]], clip: Clip, change: float | None) -> None:
    """Add an excerpt in the order of OSR change, worst first, without one last.

    Beyond `KEPT_ITEMS` one without a change goes, else the one in the middle: the worst and the best stay.
    """
    kept.append((-np.inf if change is None else change, clip))
    kept.sort(key=lambda pair: -pair[0])
    if len(kept) > KEPT_ITEMS:
        del kept[KEPT_ITEMS if kept[-1][0] == -np.inf else KEPT_ITEMS // 2]


def _clip(stem: str, audio: ItemAudio, outputs: Mapping[str, _Output]) -> Clip:
    """The excerpt with the most clean energy, on whole seconds, every signal at the item's gain."""
    length = int(CLIP_SECONDS * SAMPLE_RATE_HZ)
    starts = range(0, max(1, len(audio.clean) - length + 1), SAMPLE_RATE_HZ)
    start = max(starts, key=lambda at: float(np.sum(audio.clean[at : at + length] ** 2)))
    gain = np.float32(item_gain(audio.clean))
    signals = {name: output.samples for name, output in outputs.items() if output.samples is not None}
    cut = {name: samples[start : start + length] * gain for name, samples in (signals | {CLEAN: audio.clean}).items()}
    return Clip(stem, start / SAMPLE_RATE_HZ, cut)
