"""What each metric hears: defects planted in clean recordings, and how far each metric moves for each of them.

    python benchmarks/hearing.py SPEECH [SET]

SPEECH is a folder of speech recordings; one recording is taken from each of a few voices spread over it, ten seconds at
most, at the level of an item. SET is a set of metrics, or metric keys separated by commas (default: more). Prints two
Markdown tables: CPU seconds per 10 s of audio, including child processes, and the mean over the recordings of every
metric for every defect, with the value of the untouched recording first. A mean over fewer than all recordings is
followed by their count.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, active_rms, from_db, from_pcm, read_info, read_mono, to_pcm
from timbre_restore.metrics import Metric, Score, by_name, item_gain, score_pair

RECORDINGS = 4
SECONDS = 10
SHORTEST_S = 4.0


def filtered(samples: FloatArray, gain_db: float, from_hz: float, to_hz: float) -> FloatArray:
    """`gain_db` on every bin of the whole signal from `from_hz` up to `to_hz`."""
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
    spectrum[(hz >= from_hz) & (hz < to_hz)] *= from_db(gain_db)
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def delayed(samples: FloatArray) -> FloatArray:
    """10 ms late."""
    return np.concatenate([np.zeros(480, np.float32), samples[:-480]])


def dropped(samples: FloatArray) -> FloatArray:
    """20 ms of nothing where the recording is loudest."""
    starts = range(0, len(samples) - 960, 480)
    at = max(starts, key=lambda start: float(np.sum(samples[start : start + 960] ** 2)))
    return np.concatenate([samples[:at], np.zeros(960, np.float32), samples[at + 960 :]])


def hissed(samples: FloatArray) -> FloatArray:
    """White noise 40 dB below the active speech."""
    hiss = np.random.default_rng(1).standard_normal(len(samples))
    return (samples + hiss * active_rms(samples) * from_db(-40.0)).astype(np.float32)


DEFECTS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "none": lambda x: x,
    "−3 dB in 4–8 kHz": lambda x: filtered(x, -3.0, 4_000, 8_000),
    "−3 dB in 8–12 kHz": lambda x: filtered(x, -3.0, 8_000, 12_000),
    "−12 dB above 4 kHz": lambda x: filtered(x, -12.0, 4_000, 24_001),
    "low-pass at 8 kHz": lambda x: filtered(x, -200.0, 8_000, 24_001),
    "10 ms late": delayed,
    "20 ms gone": dropped,
    "noise at −40 dB": hissed,
    "polarity": lambda x: -x,
    "−6 dB": lambda x: x * np.float32(0.5),
}


def recordings(folder: Path) -> list[FloatArray]:
    """The first recording that is long enough, at 44.1 kHz or more, from each of some voices spread over the folder."""
    by_voice: dict[Path, Path] = {}
    for path in sorted(folder.rglob("*.flac")) + sorted(folder.rglob("*.wav")):
        info = read_info(path)
        if info.sample_rate_hz >= 44_100 and info.samples >= SHORTEST_S * info.sample_rate_hz:
            by_voice.setdefault(path.parent, path)
    chosen = [list(by_voice.values())[i * len(by_voice) // RECORDINGS] for i in range(min(RECORDINGS, len(by_voice)))]
    print("Recordings: " + ", ".join(path.stem for path in chosen) + ".\n")
    return [read_mono(path)[: SECONDS * SAMPLE_RATE_HZ] for path in chosen]


def scored(estimate: FloatArray, sound: FloatArray, metrics: Sequence[Metric]) -> dict[str, Score]:
    """As `evaluate` does: an output in its reference's 16 bits, both at the level of an item."""
    gain = np.float32(item_gain(sound))
    return score_pair(from_pcm(to_pcm(estimate)) * gain, sound * gain, metrics)


def cpu_s() -> float:
    """CPU seconds of this process and its finished children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def costs(metrics: tuple[Metric, ...], sound: FloatArray) -> dict[str, float]:
    """CPU seconds of each group for 10 s of audio, measured on the second call, when its package is loaded."""
    groups: dict[str, list[Metric]] = {}
    for metric in metrics:
        groups.setdefault(metric.group or metric.key, []).append(metric)
    clean = np.resize(sound, SECONDS * SAMPLE_RATE_HZ).astype(np.float32)
    noisy = hissed(clean)
    found = {}
    for name, members in groups.items():
        scored(noisy, clean, members)
        before = cpu_s()
        scored(noisy, clean, members)
        found[name] = cpu_s() - before
    return found


def cell(metric: Metric, scores: list[Score]) -> str:
    """The mean formatted as in a report, with the count if some values are n/a."""
    values = [score.value for score in scores if score.value is not None]
    if not values:
        return "n/a"
    percent = metric.unit == "%"
    text = f"{np.mean(values) * (100 if percent else 1):.{1 if percent else 2}f}".replace("-", "−")
    text = "0.00" if text == "−0.00" else text
    return text if len(values) == len(scores) else f"{text} ({len(values)})"


def main() -> None:
    """Print both tables."""
    metrics = by_name((sys.argv[2] if len(sys.argv) > 2 else "more").split(","))
    sounds = recordings(Path(sys.argv[1]))
    print("| computed together | CPU s per 10 s |\n| --- | --- |")
    for name, seconds in costs(metrics, sounds[0]).items():
        print(f"| {name} | {seconds:.2f} |")
    table = {name: [scored(plant(x), x, metrics) for x in sounds] for name, plant in DEFECTS.items()}
    print("\n| metric | " + " | ".join(table) + " |\n" + "| --- " * (len(table) + 1) + "|")
    for metric in metrics:
        unit = f" {metric.unit}" if metric.unit else ""
        cells = [cell(metric, [scores[metric.key] for scores in found]) for found in table.values()]
        print(f"| `{metric.key}`{unit} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
