"""DeepFilterNet3 on many signals at once: each goes through one of a few lanes, in stretches of equal length.

Only the networks run side by side; everything else is done per signal. The networks always see the same number of lanes
and frames, padded with zeros where a signal ends, so the output for a signal does not depend on its neighbours, their
number or its lane, not even in the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audio import FloatArray
from timbre_restore.audio.frames import ERB_BANDS, FILTERED_BINS
from timbre_restore.suppressors.df_graphs import Graphs, GraphState

LANES = 4
STRETCH_FRAMES = 50
"""A signal wastes half a stretch on average; shorter stretches cost more calls."""


@dataclass
class Job:
    """A signal's frames on their way through the networks: features in, estimates out as they are ready."""

    number: int
    erb: FloatArray
    """`[N, 32]`."""
    unit: FloatArray
    """`[2, N, 96]`."""
    done: int = 0
    local_snr_db: list[FloatArray] = field(default_factory=list)
    gains: list[FloatArray] = field(default_factory=list)
    taps: list[NDArray[np.complex64]] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Number of frames that the networks have not processed yet."""
        return len(self.erb) - self.done


def run_lanes(graphs: Graphs, jobs: Iterable[Job]) -> Iterator[Job]:
    """Yield each job when it is finished; jobs are taken as lanes become free."""
    waiting = iter(jobs)
    lanes: list[Job | None] = [None] * graphs.lanes
    state = GraphState.zeros(graphs.lanes)
    while True:
        for lane in range(graphs.lanes):
            if lanes[lane] is None and (job := next(waiting, None)) is not None:
                lanes[lane] = job
                state.clear(lane)
        if not any(lanes):
            return
        state = _step(graphs, lanes, state)
        for lane, job in enumerate(lanes):
            if job is not None and job.left <= 0:
                lanes[lane] = None
                yield job


def _step(graphs: Graphs, lanes: list[Job | None], state: GraphState) -> GraphState:
    """Process one stretch of every lane."""
    erb = np.zeros((graphs.lanes, STRETCH_FRAMES, ERB_BANDS), np.float32)
    unit = np.zeros((graphs.lanes, 2, STRETCH_FRAMES, FILTERED_BINS), np.float32)
    for lane, job in enumerate(lanes):
        if job is not None:
            part = slice(job.done, job.done + STRETCH_FRAMES)
            count = min(job.left, STRETCH_FRAMES)
            erb[lane, :count], unit[lane, :, :count] = job.erb[part], job.unit[:, part]
    snr, gains, taps, state = graphs(erb, unit, state)
    for lane, job in enumerate(lanes):
        if job is not None:
            count = min(job.left, STRETCH_FRAMES)
            job.local_snr_db.append(snr[lane, :count])
            job.gains.append(gains[lane, :count])
            job.taps.append(taps[lane, :count])
            job.done += count
    return state
