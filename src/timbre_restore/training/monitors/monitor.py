"""All rules together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from timbre_restore.training.monitors import discriminators, gradients, losses, machine, weights
from timbre_restore.training.monitors.bands import phase_of
from timbre_restore.training.monitors.findings import Finding
from timbre_restore.training.monitors.health import Health
from timbre_restore.training.monitors.look import Look, Rule
from timbre_restore.training.schedule import Plan
from timbre_restore.training.settings import TrainSettings

SHORTEST_PHASE_STEPS = 200
"""A phase of fewer steps is not held against the bands."""
STOPPING = (
    discriminators.Exploded,
    discriminators.Swapped,
    weights.Frozen,
    discriminators.Stuck,
    discriminators.GeneratorWins,
    gradients.Vanishes,
)
"""A cause before what follows from it."""
WARNING = (
    discriminators.FarApart,
    gradients.Explodes,
    gradients.Clipped,
    machine.Starved,
    machine.IdleDevice,
)


class Monitor:
    """Sees the means of every interval of the log, the whole epochs, and what is about to be saved."""

    def __init__(self, settings: TrainSettings, plan: Plan) -> None:
        self._plan = plan
        self._not_finite, self._leap = losses.NotFinite(settings), losses.Leap(settings)
        self._rules: list[Rule] = [self._not_finite, *(make(settings) for make in STOPPING), self._leap]
        self._rules += [make(settings) for make in WARNING]
        self._stagnation, self._health = losses.Stagnation(settings), Health(settings)
        self._phase_steps: dict[str, int] = {}
        self._last_step = 0

    @property
    def suspects(self) -> bool:
        """Whether something that stops a run may have begun: what is saved now is not called healthy."""
        return any(rule.suspects for rule in self._rules)

    def remember(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take what an earlier part of the run logged, `train` and `epoch` lines in their order."""
        for line in lines:
            numbers = {name: value for name, value in line.items() if isinstance(value, int | float)}
            epoch, step = math.ceil(line["epoch"]) - 1, int(line["step"])
            if line["kind"] == "train":
                self.look(step, float(line["place"]), numbers)
            else:
                self.epoch(step, epoch, numbers)

    def look(self, step: int, place: float, means: Mapping[str, float], **local: Any) -> list[Finding]:
        """Take the interval that ends with `step`, at `place` in epochs from 0; `local` is the rest of a `Look`."""
        phase = self._phase(place, means)
        steps = max(1, step - self._last_step)
        self._last_step = step
        self._phase_steps[phase] = self._phase_steps.get(phase, 0) + steps
        look = Look(step, steps, phase, means, **local)
        return [finding for rule in self._rules for finding in rule.look(look)]

    def unfit(self, step: int, epoch: int, means: Mapping[str, float]) -> list[Finding]:
        """Why the steps since the last line of the log are not worth a checkpoint; nothing is remembered."""
        look = Look(step, 1, self._phase(epoch, means), means)
        return [*self._not_finite.look(look), *self._leap.leaps(step, means)]

    def epoch(self, step: int, epoch: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Take the numbers of the whole epoch `epoch` from 0, and of its validation."""
        phase = self._phase(min(epoch + 1.0, self._plan.length) - 1e-6, metrics)
        found = [*self.unfit(step, epoch, metrics), *self._stagnation.epoch(step, phase, metrics)]
        if self._ends(epoch, phase) and self._phase_steps.get(phase, 0) >= SHORTEST_PHASE_STEPS:
            found += self._health.phase_ended(step, phase, metrics)
        return found

    def _phase(self, place: float, means: Mapping[str, float]) -> str:
        return phase_of(place, warmup_epochs=self._plan.warmup, gan="d_real" in means)

    def _ends(self, epoch: int, phase: str) -> bool:
        """Whether it is the phase's last epoch. A warm-up that the run cuts short has no end."""
        plan = self._plan
        if epoch + 1 >= plan.length:
            return phase != "warm-up" or plan.length >= plan.warmup
        return phase != phase_of(epoch + 1, warmup_epochs=plan.warmup, gan=plan.gan(epoch + 1))
