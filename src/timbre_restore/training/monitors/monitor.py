"""Combines all rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from timbre_restore.training.monitors import discriminators, gradients, losses, machine, weights
from timbre_restore.training.monitors.bands import phase_of
from timbre_restore.training.monitors.findings import Finding
from timbre_restore.training.monitors.health import Health
from timbre_restore.training.monitors.look import Look, Rule
from timbre_restore.training.schedule import Plan
from timbre_restore.training.settings import TrainSettings

SHORTEST_PHASE_STEPS = 200
"""A phase with fewer steps is not compared with the bands."""
STOPPING = (
    discriminators.Exploded,
    discriminators.Swapped,
    weights.Frozen,
    discriminators.Stuck,
    discriminators.GeneratorWins,
    gradients.Vanishes,
)
"""In an order that puts a cause before its consequences."""
WARNING = (
    discriminators.FarApart,
    gradients.Explodes,
    gradients.Clipped,
    machine.Starved,
    machine.IdleDevice,
)


@dataclass
class _PartOfEpoch:
    """The intervals of the current epoch that belong to one phase."""

    phase: str = ""
    sums: dict[str, float] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)

    def add(self, phase: str, steps: int, means: Mapping[str, float]) -> None:
        self.phase = phase
        for name, mean in means.items():
            self.sums[name] = self.sums.get(name, 0.0) + mean * steps
            self.steps[name] = self.steps.get(name, 0) + steps

    def means(self) -> dict[str, float]:
        return {name: total / self.steps[name] for name, total in self.sums.items()}


class Monitor:
    """Checks the means of every log interval, completed epochs, and the state that is about to be saved."""

    def __init__(self, settings: TrainSettings, plan: Plan) -> None:
        self._plan = plan
        self._not_finite, self._leap = losses.NotFinite(settings), losses.Leap(settings)
        self._rules: list[Rule] = [self._not_finite, *(make(settings) for make in STOPPING), self._leap]
        self._rules += [make(settings) for make in WARNING]
        self._stagnation, self._health = losses.Stagnation(settings), Health(settings)
        self._phase_steps: dict[str, int] = {}
        self._part = _PartOfEpoch()
        self._last_step = 0

    @property
    def suspects(self) -> bool:
        """Whether a condition that stops a run may have begun, so that a checkpoint saved now is not called healthy."""
        return any(rule.suspects for rule in self._rules)

    def remember(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take the `train` and `epoch` lines that an earlier part of the run logged, in their order."""
        for line in lines:
            numbers = {name: value for name, value in line.items() if isinstance(value, int | float)}
            epoch, step = math.ceil(line["epoch"]) - 1, int(line["step"])
            if line["kind"] == "train":
                self.look(step, float(line["place"]), numbers)
            else:
                self.epoch(step, epoch, numbers)

    def look(self, step: int, place: float, means: Mapping[str, float], **local: Any) -> list[Finding]:
        """Check the interval that ends with `step`, at `place` in epochs from 0; `local` is the rest of a `Look`."""
        phase = self._phase(place, means)
        steps = max(1, step - self._last_step)
        found = self._left_within_epoch(phase)
        self._part.add(phase, steps, means)
        self._last_step = step
        self._phase_steps[phase] = self._phase_steps.get(phase, 0) + steps
        look = Look(step, steps, phase, means, **local)
        return found + [finding for rule in self._rules for finding in rule.look(look)]

    def unfit(self, step: int, epoch: int, means: Mapping[str, float]) -> list[Finding]:
        """Why the steps since the last log line must not be saved to a checkpoint; nothing is stored."""
        look = Look(step, 1, self._phase(epoch, means), means)
        return [*self._not_finite.look(look), *self._leap.leaps(step, means)]

    def epoch(self, step: int, epoch: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Check the metrics of epoch `epoch` (from 0) and of its validation."""
        phase = self._phase(min(epoch + 1.0, self._plan.length) - 1e-6, metrics)
        found = [*self.unfit(step, epoch, metrics), *self._stagnation.epoch(step, phase, metrics)]
        if self._ends(epoch, phase) and self._phase_steps.get(phase, 0) >= SHORTEST_PHASE_STEPS:
            found += self._health.phase_ended(step, phase, metrics)
        self._part = _PartOfEpoch()
        return found

    def _left_within_epoch(self, phase: str) -> list[Finding]:
        """Compare a phase that ended between two intervals with its band, using the training means of its last epoch.

        There is no validation at such a point.
        """
        part = self._part
        if part.phase in ("", phase):
            return []
        self._part = _PartOfEpoch()
        if self._phase_steps[part.phase] < SHORTEST_PHASE_STEPS:
            return []
        return list(self._health.phase_ended(self._last_step, part.phase, part.means()))

    def _phase(self, place: float, means: Mapping[str, float]) -> str:
        return phase_of(place, warmup_epochs=self._plan.warmup, gan="d_real" in means)

    def _ends(self, epoch: int, phase: str) -> bool:
        """Whether this is the phase's last epoch. A warm-up that the end of the run cuts short does not count."""
        plan = self._plan
        if epoch + 1 >= plan.length:
            return phase != "warm-up" or plan.length >= plan.warmup
        return phase != phase_of(epoch + 1, warmup_epochs=plan.warmup, gan=plan.gan(epoch + 1))
