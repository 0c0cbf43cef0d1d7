"""What a gate could restore if it knew the clean voice: an upper limit for the generator's first term.

    python benchmarks/oracle.py PAIRS OUT

For each pair in PAIRS (folders noisy/ and clean/, as for `evaluate --pairs`) writes D + g · (N − D), where D, N and C
are the spectra of suppressor, noisy and clean, with the gate g in [0, 1] per frame and band that suits the clean
recording best. Each kind of gate gets a folder, to be scored by `evaluate --system NAME=OUT/NAME`:

    nearest        least squares against C, per band of the generator (single bins to 4 kHz, 250 Hz above)
    nearest-bins   the same, per bin
    level          the band's power nearest to C's in dB, which is what OSR and residual measure
    levels-50ms    a gate that knows only the powers of voice and noise per band, averaged over that time around each
                   frame: it comes nearest to N after a Wiener filter for these powers; also -150ms and -410ms
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, FloatArray, read_mono, write_audio
from timbre_restore.audio.frames import ComplexArray, analyse, synthesise
from timbre_restore.models import GeneratorSettings
from timbre_restore.models.spectral import Spectral
from timbre_restore.suppressors import load_suppressor

STEPS = np.linspace(0.0, 1.0, 41)
SILENT = 1e-14
"""Power of a band, -140 dB of full scale, at which there is nothing to restore."""
Power = NDArray[np.float64]


def main(pairs: Path, out: Path) -> None:
    suppressor = load_suppressor()
    for path in sorted((pairs / "noisy").glob("*.wav")):
        noisy, clean = read_mono(path), read_mono(pairs / "clean" / path.name)
        noisy_frames, degraded, target = (spectra(x) for x in (noisy, suppressor(noisy), clean))
        taken = noisy_frames - degraded
        for name, gate in GATES.items():
            restored = degraded + gate(target, degraded, taken) * taken
            samples = synthesise(restored.astype(np.complex64), np.zeros(HOP_SAMPLES, np.float32))[0].reshape(-1)
            # A frame ends with its hop, so its first samples come out one hop later.
            write_audio(out / name / path.name, samples[HOP_SAMPLES:][: len(noisy)], 48_000)


def spectra(x: FloatArray) -> ComplexArray:
    """Frames `[N, 481]` of `[T]`, padded by one more hop so that the last sample is covered by both of its frames."""
    hops = np.pad(x, (0, -len(x) % HOP_SAMPLES + HOP_SAMPLES)).reshape(-1, HOP_SAMPLES)
    return analyse(hops, np.zeros(HOP_SAMPLES, np.float32))


def nearest(target: ComplexArray, degraded: ComplexArray, taken: ComplexArray) -> Power:
    return _on_bins(_least_squares(*(_in_bands(x) for x in _products(target - degraded, taken))))


def nearest_bins(target: ComplexArray, degraded: ComplexArray, taken: ComplexArray) -> Power:
    return _least_squares(*_products(target - degraded, taken))


def level(target: ComplexArray, degraded: ComplexArray, taken: ComplexArray) -> Power:
    along, taken_power = (_in_bands(x) for x in _products(degraded, taken))
    left, wanted = (_band_powers(x) for x in (degraded, target))
    powers = left + 2.0 * STEPS[:, None, None] * along + STEPS[:, None, None] ** 2 * taken_power
    off = np.abs(np.log(np.maximum(powers, SILENT)) - np.log(np.maximum(wanted, SILENT)))
    return _on_bins(STEPS[off.argmin(axis=0)])


def levels(target: ComplexArray, degraded: ComplexArray, taken: ComplexArray, *, frames: int) -> Power:
    noise = degraded + taken - target
    voice_power, noise_power = (_around(_band_powers(x), frames) for x in (target, noise))
    wanted = _on_bins(voice_power / np.maximum(voice_power + noise_power, SILENT)) * (degraded + taken)
    return nearest(wanted, degraded, taken)


def _around(power: Power, frames: int) -> Power:
    """Means `[N, B]` over an odd number of frames around each, weighted by a Hann window; the edges are repeated."""
    weights = np.hanning(frames + 2)[1:-1]
    held = np.pad(power, ((frames // 2, frames // 2), (0, 0)), mode="edge")
    means: Power = np.lib.stride_tricks.sliding_window_view(held, frames, axis=0) @ (weights / weights.sum())
    return means


GATES: dict[str, Callable[[ComplexArray, ComplexArray, ComplexArray], Power]] = {
    "nearest": nearest,
    "nearest-bins": nearest_bins,
    "level": level,
    "levels-50ms": partial(levels, frames=5),
    "levels-150ms": partial(levels, frames=15),
    "levels-410ms": partial(levels, frames=41),
}


def _products(x: ComplexArray, taken: ComplexArray) -> tuple[Power, Power]:
    """Re(x · conj(taken)) and |taken|² of each bin."""
    return (x * taken.conj()).real.astype(float), np.abs(taken).astype(float) ** 2


def _least_squares(along: Power, power: Power) -> Power:
    return np.clip(along / np.maximum(power, SILENT), 0.0, 1.0)


BAND_OF_BIN = Spectral(GeneratorSettings()).band_of_bin.numpy()
FIRST_BINS = np.unique(BAND_OF_BIN, return_index=True)[1]


def _in_bands(x: Power) -> Power:
    """Bins `[N, 481]` summed into bands `[N, 160]`."""
    return np.add.reduceat(x, FIRST_BINS, axis=1)


def _band_powers(x: ComplexArray) -> Power:
    return _in_bands(np.abs(x).astype(float) ** 2)


def _on_bins(gate: Power) -> Power:
    return gate[:, BAND_OF_BIN]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
