"""One stream's path through a model, hop by hop: its state, and the processing of a hop.

A core takes hops of degraded together with hops of noisy that are `ahead` hops later, and returns the hop from `late`
hops before. Strength mixes from 0 (the suppressor's output) to 1 (everything the model gives back); a change is spread
over a hop.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from timbre_restore.audio import HOP_SAMPLES, FloatArray
from timbre_restore.audio.frames import ERB_BANDS, NEUTRAL_SNR_DB, ComplexArray, analyse, synthesise
from timbre_restore.runtime.model import SPECTRUM, Model, normal

_NEUTRAL_HINTS = np.array([[1.0] * ERB_BANDS + [NEUTRAL_SNR_DB]], np.float32)
"""Neutral values for a suppressor that reports no hints."""
_NOTHING = np.zeros(HOP_SAMPLES, np.float32)


class Core(Protocol):
    """What a stream needs from a model."""

    ahead: int
    late: int

    def prime(self, noisy: FloatArray) -> None:
        """Take the first `ahead` hops `[ahead, 480]` of noisy, before there is anything to restore."""
        ...

    def step(self, degraded: FloatArray, noisy: FloatArray | None, strength: float) -> FloatArray:
        """Turn hops `[N, 480]` of both into as many restored ones."""
        ...


class WaveCore:
    """A waveform model: output is not late, and noisy is as far ahead as the model looks."""

    late = 0

    def __init__(self, model: Model, strength: float) -> None:
        self._model, self._state = model, model.initial_state()
        self._strength = strength
        self.ahead = model.lookahead_samples // HOP_SAMPLES if model.needs_noisy else 0
        self._heard = np.zeros((self.ahead, HOP_SAMPLES), np.float32)

    def prime(self, noisy: FloatArray) -> None:
        """Keep the hops: the model sees them together with the first one."""
        self._heard = normal(noisy)

    def step(self, degraded: FloatArray, noisy: FloatArray | None, strength: float) -> FloatArray:
        """Restored hops `[N, 480]`."""
        chunk = {"degraded": normal(degraded).reshape(1, 1, -1)}
        if noisy is not None:
            seen = np.concatenate([self._heard, normal(noisy)])
            chunk["noisy"] = seen.reshape(1, 1, -1)
            self._heard = seen[len(seen) - self.ahead :]
        outputs, self._state = self._model.run(chunk, self._state)
        residual = outputs["restored"].reshape(degraded.shape) - degraded
        amount = np.full((len(degraded), 1), strength, np.float32) * np.ones(HOP_SAMPLES, np.float32)
        if strength != self._strength:
            amount[0] = np.linspace(self._strength, strength, HOP_SAMPLES, dtype=np.float32)
            self._strength = strength
        return degraded + amount * residual


class Spectra:
    """A model on the suppressor's frames: spectra in, a residual out; its overlap spreads a change of strength."""

    def __init__(self, model: Model) -> None:
        self._model, self._state = model, model.initial_state()
        self._overlap = _NOTHING

    def step(self, sounds: ComplexArray, hints: FloatArray | None, strength: float) -> FloatArray:
        """The residual's hops `[N, 480]`, each one hop before the last hop of its frame.

        `sounds` `[1 or 2, N, 481]` are frames of degraded and, if the model uses it, of noisy two frames later; `hints`
        `[N, 33]` are those of the degraded frames.
        """
        parts = _as_parts(sounds)
        chunk = {"degraded": parts[:1]}
        if self._model.needs_noisy:
            chunk["noisy"] = parts[1:]
        if self._model.takes_hints:
            chunk["hints"] = (np.repeat(_NEUTRAL_HINTS, sounds.shape[1], axis=0) if hints is None else hints)[None]
        outputs, self._state = self._model.run(chunk, self._state)
        audio, self._overlap = synthesise(_as_complex(outputs["residual"], strength), self._overlap)
        return audio


class SpectrumCore:
    """A spectrum model behind a black box: a hop can be synthesised only one hop later, so all output is that late."""

    late = 1

    def __init__(self, model: Model) -> None:
        self._spectra = Spectra(model)
        self.ahead = (model.lookahead_samples - model.latency_samples) // HOP_SAMPLES if model.needs_noisy else 0
        self._last = np.zeros((2 if model.needs_noisy else 1, HOP_SAMPLES), np.float32)

    def prime(self, noisy: FloatArray) -> None:
        """Run the hops through the model next to silence."""
        self._spectra.step(self._analysed([np.zeros_like(noisy), noisy]), None, 0.0)

    def step(self, degraded: FloatArray, noisy: FloatArray | None, strength: float) -> FloatArray:
        """Restored hops `[N, 480]`, one hop late."""
        before = np.concatenate([self._last[:1], degraded[:-1]])
        spectra = self._analysed([degraded] if noisy is None else [degraded, noisy])
        return before + self._spectra.step(spectra, None, strength)

    def _analysed(self, sounds: list[FloatArray]) -> ComplexArray:
        """Frames `[1 or 2, N, 481]` of the next hops of degraded and noisy."""
        hops = np.stack(sounds)
        spectra = analyse(hops, self._last)
        self._last = hops[:, -1]
        return spectra


def make_core(model: Model, strength: float) -> Core:
    """A fresh core for a model behind a black box."""
    return SpectrumCore(model) if model.domain == SPECTRUM else WaveCore(model, strength)


def _as_parts(spectra: ComplexArray) -> FloatArray:
    """Complex `[S, N, 481]` as real and imaginary parts `[S, 2, N, 481]`."""
    pairs = spectra.view(np.float32).reshape(*spectra.shape, 2)
    return normal(pairs.transpose(0, 3, 1, 2))


def _as_complex(parts: FloatArray, strength: float) -> ComplexArray:
    """Parts `[1, 2, N, 481]`, times `strength`, as complex `[N, 481]`."""
    spectra = np.empty(parts.shape[2:], np.complex64)
    np.multiply(parts[0, 0], np.float32(strength), out=spectra.real)
    np.multiply(parts[0, 1], np.float32(strength), out=spectra.imag)
    return spectra
