"""DeepFilterNet3 on stretches of any length, with only numpy and the three graphs.

The rules are those of libDF v0.5.6 (`tract.rs`, `DfTract::process`). A hop whose mean square is below 1e-7 gives
zeros and is skipped entirely: neither norms nor recurrences nor the overlap advance. Later versions wait for six such
hops in a row, which is why the two official builds diverge at every pause. The stages selected by local SNR (below
-15 dB zeros, above 35 dB unchanged) never differ from the regular one with the thresholds that libDF's tools and
plug-ins use, because the network's estimate is a sigmoid between exactly these two values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import HOP_SAMPLES, FloatArray, from_db
from timbre_restore.audio.frames import BINS, ERB_BANDS, FILTERED_BINS, analyse, synthesise
from timbre_restore.suppressors import df_spectrum as df
from timbre_restore.suppressors.base import NO_LIMIT_DB, Hints, Suppressed, is_heard
from timbre_restore.suppressors.df_graphs import GraphState, open_graphs
from timbre_restore.suppressors.df_lanes import LANES, Job, run_lanes

ComplexArray = NDArray[np.complex64]

LOOKAHEAD_FRAMES = 2
SILENT_SNR_DB = -15.0
STRETCH_HOPS = 1000  # processed at a time, so that memory stays flat for long recordings
_EARLIER = df.FILTER_TAPS - 1


@dataclass
class SequenceState:
    """Everything that a stretch passes on to the next one."""

    samples: FloatArray = field(default_factory=lambda: np.zeros(HOP_SAMPLES, np.float32))
    spectra: ComplexArray = field(default_factory=lambda: np.zeros((_EARLIER, BINS), np.complex64))
    overlap: FloatArray = field(default_factory=lambda: np.zeros(HOP_SAMPLES, np.float32))
    norms: tuple[FloatArray, FloatArray] = field(default_factory=df.initial_norms)
    graphs: GraphState = field(default_factory=GraphState.zeros)


@dataclass(frozen=True)
class _Whole:
    """A signal of whole hops, of which only those that are not silent are processed."""

    heard: NDArray[np.bool_]
    spectra: ComplexArray

    @classmethod
    def of(cls, padded: FloatArray) -> _Whole:
        hops = padded.reshape(-1, HOP_SAMPLES)
        heard = is_heard(hops)
        return cls(heard, analyse(hops[heard], SequenceState().samples))

    def features(self) -> tuple[FloatArray, FloatArray]:
        """ERB and complex features of the heard hops."""
        erb, unit, *_ = df.features(self.spectra, *df.initial_norms())
        return erb, unit

    def spread(self, values: NDArray[Any], silent: float = 0.0) -> NDArray[Any]:
        """Values of the heard hops `[L, …]`, put at their positions among all hops `[N, …]`."""
        out = np.full((len(self.heard), *values.shape[1:]), silent, values.dtype)
        out[self.heard] = values
        return out


class DFN3Sequence:
    """DeepFilterNet3 with fixed settings; calls don't share state.

    `attenuation_limit_db` 100 means no limit; `post_filter_beta` 0 is off.
    """

    def __init__(self, archive: Path, attenuation_limit_db: float, post_filter_beta: float) -> None:
        self._archive = archive
        self._floor = 0.0 if attenuation_limit_db >= NO_LIMIT_DB else from_db(-attenuation_limit_db)
        self._beta = post_filter_beta

    def begin(self) -> SequenceState:
        """The initial state. Opens the networks, so that the first word does not have to wait for them."""
        open_graphs(self._archive, 1)
        return SequenceState()

    def stream(self, hops: FloatArray, state: SequenceState) -> tuple[Suppressed, SequenceState]:
        """Process the next hops `[N, 480]` of a signal, N at least 1; also returns the state for those after them."""
        count, heard = len(hops), is_heard(hops)
        out = Suppressed(
            np.zeros_like(hops),
            np.zeros((count, BINS), np.complex64),
            np.zeros((count, BINS), np.complex64),
            np.zeros((count, BINS), np.complex64),
            np.zeros((count, ERB_BANDS), np.float32),
            np.full(count, SILENT_SNR_DB, np.float32),
            heard,
        )
        if not heard.any():
            return out, state
        live = hops[heard]
        fresh = analyse(live, state.samples)
        erb, unit, *norms = df.features(fresh, *state.norms)
        (snr,), (gains,), (taps,), graphs = open_graphs(self._archive, 1)(erb[None], unit[None], state.graphs)
        seen = np.concatenate([state.spectra, fresh])
        noisy = seen[LOOKAHEAD_FRAMES : LOOKAHEAD_FRAMES + len(fresh)]
        enhanced = self._enhance(seen, noisy, gains, taps)
        audio, overlap = synthesise(enhanced, state.overlap)
        for target, values in zip(
            (out.audio, out.spectra, out.noisy_spectra, out.newest_spectra, out.gains, out.local_snr_db),
            (audio, enhanced, noisy, fresh, self._applied(gains), snr),
            strict=True,
        ):
            target[heard] = values
        return out, SequenceState(live[-1], seen[-_EARLIER:], overlap, (norms[0], norms[1]), graphs)

    def run_hops(self, padded: FloatArray) -> tuple[FloatArray, Hints]:
        """Run whole hops `[T]`, at least one, from a fresh state, with the delay left in; also returns hints."""
        hops, state, parts = padded.reshape(-1, HOP_SAMPLES), SequenceState(), []
        for start in range(0, len(hops), STRETCH_HOPS):
            part, state = self.stream(hops[start : start + STRETCH_HOPS], state)
            parts.append((part.audio, part.gains, part.local_snr_db, part.spectra[:, :FILTERED_BINS]))
        audio, *known = (np.concatenate(values) for values in zip(*parts, strict=True))
        return audio.reshape(-1), Hints(*known)

    def run_many(self, padded: Iterable[FloatArray]) -> Iterator[tuple[int, FloatArray, Hints]]:
        """Index, audio and hints of each signal `[T]`, as `run_hops` gives them, processing several at once."""
        open_now: dict[int, _Whole] = {}

        def jobs() -> Iterator[Job]:
            for number, signal in enumerate(padded):
                whole = open_now[number] = _Whole.of(signal)
                yield Job(number, *whole.features())

        for job in run_lanes(open_graphs(self._archive, LANES), jobs()):
            yield job.number, *self._finish(open_now.pop(job.number), job)

    def _finish(self, whole: _Whole, job: Job) -> tuple[FloatArray, Hints]:
        gains, snr, taps = np.concatenate(job.gains), np.concatenate(job.local_snr_db), np.concatenate(job.taps)
        seen = np.concatenate([SequenceState().spectra, whole.spectra])
        audio = np.empty((len(whole.spectra), HOP_SAMPLES), np.float32)
        low = np.empty((len(whole.spectra), FILTERED_BINS), np.complex64)
        overlap = SequenceState().overlap
        for start in range(0, len(audio), STRETCH_HOPS):
            part = slice(start, start + STRETCH_HOPS)
            count = len(audio[part])
            noisy = seen[start + LOOKAHEAD_FRAMES : start + LOOKAHEAD_FRAMES + count]
            enhanced = self._enhance(seen[start : start + count + _EARLIER], noisy, gains[part], taps[part])
            audio[part], overlap = synthesise(enhanced, overlap)
            low[part] = enhanced[:, :FILTERED_BINS]
        known = Hints(whole.spread(self._applied(gains)), whole.spread(snr, SILENT_SNR_DB), whole.spread(low))
        return whole.spread(audio).reshape(-1), known

    def _enhance(self, seen: ComplexArray, noisy: ComplexArray, gains: FloatArray, taps: ComplexArray) -> ComplexArray:
        enhanced = df.apply_gains(noisy, gains)
        enhanced[:, :FILTERED_BINS] = df.deep_filter(seen, taps)
        if self._beta > 0.0:
            enhanced = df.post_filter(noisy, enhanced, self._beta)
        if self._floor > 0.0:
            enhanced = (1.0 - self._floor) * enhanced + self._floor * noisy
        return enhanced.astype(np.complex64, copy=False)

    def _applied(self, gains: FloatArray) -> FloatArray:
        """The band gains after post-filter and limit: what `_enhance` would leave of a spectrum of ones."""
        if self._beta > 0.0:
            gains = df.post_filter_factor(gains, self._beta) * gains
        return self._floor + (np.float32(1.0) - np.float32(self._floor)) * gains
