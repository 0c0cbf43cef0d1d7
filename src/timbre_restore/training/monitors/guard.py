"""What is done about findings: said, or the run ends with its last healthy checkpoint, or goes on from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from accelerate.utils import broadcast_object_list

from timbre_restore.errors import TrainingStopped
from timbre_restore.training.checkpoints.checkpoint import (
    Checkpoint,
    find_checkpoint,
    forget_later,
    point_to,
    record_rollback,
    restore_state,
)
from timbre_restore.training.monitors import Monitor, not_finite, out_of_memory
from timbre_restore.training.monitors.findings import Finding

if TYPE_CHECKING:
    from timbre_restore.training.record.journal import Journal
    from timbre_restore.training.schedule import Plan
    from timbre_restore.training.settings import TrainSettings
    from timbre_restore.training.state import TrainState

OnAnomaly = Literal["stop", "rollback", "warn"]
COOL_DOWN_STEPS = 1000
"""A rule that has been said is not said again for so long."""
ROLLBACKS = 3
RATE_FACTOR = 0.5


class RolledBack(Exception):
    """The state is an earlier one now; the run goes on from there."""


class Guard:
    """Shows the monitor what happens, and acts on what it finds, in every process alike."""

    def __init__(
        self,
        settings: TrainSettings,
        plan: Plan,
        state: TrainState,
        accelerator: Any,
        journal: Journal,
        on_anomaly: OnAnomaly,
        talk: Callable[[str], None],
        place: Callable[[Checkpoint], int],
    ) -> None:
        """`place` says with which batch of its epoch a run goes on from a checkpoint."""
        self._settings = settings
        self._plan = plan
        self._state = state
        self._accelerator = accelerator
        self._journal = journal
        self._on_anomaly = on_anomaly
        self._talk = talk
        self._place = place
        self._said: dict[str, int] = {event["rule"]: int(event["step"]) for event in journal.events_before}
        self._monitor = Monitor(settings, plan)
        self._monitor.remember(journal.lines_before)

    @property
    def healthy(self) -> bool:
        """Whether the present state may be gone back to."""
        return not self._monitor.suspects

    def look(self, place: float, means: Mapping[str, float], **local: Any) -> None:
        """After an interval of the log, whose last step was at `place`; `local` is what `monitors.Local` saw."""
        self._act(self._monitor.look(self._state.step, place, means, **local))

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """After the validation of the epoch that is about to be counted."""
        self._act(self._monitor.epoch(self._state.step, self._state.epoch, metrics))

    def may_save(self, means: Mapping[str, float]) -> bool:
        """Whether the state is worth a checkpoint; `means` are of the steps since the last line of the log."""
        state = self._state
        found = self._monitor.unfit(state.step, state.epoch, means)
        networks = {"generator": state.generator, "discriminators": state.discriminators, "ema": state.ema}
        if not found and (names := not_finite(networks)):
            found = [self._lost(names)]
        self._act(found)
        return not any(finding.rule == "nan" for finding in found)

    def out_of_memory(self, reason: str) -> NoReturn:
        """A step ran out of memory, perhaps in this process alone, and left half of an update."""
        gan = self._plan.gan(self._state.epoch)
        self._stop(out_of_memory(self._state.step + 1, self._settings, reason, gan=gan))

    def _lost(self, names: Sequence[str]) -> Finding:
        rate = self._settings.learning_rate
        return Finding(
            "nan",
            self._state.step,
            f"weights of {' and '.join(names)} are no numbers",
            "the run has diverged",
            f"lower training.learning_rate from {rate:g} to {rate / 3:.2g}",
            stops=True,
        )

    def _act(self, findings: Sequence[Finding]) -> None:
        """Say them all, then do what the first one that stops asks for."""
        if self._accelerator.num_processes > 1:
            # The clocks and sums of one process may see what another's don't, and all have to go the same way.
            shared = [list(findings)]
            broadcast_object_list(shared)
            findings = shared[0]
        stopping = [finding for finding in findings if finding.stops and self._on_anomaly != "warn"]
        for finding in findings:
            if finding not in stopping:
                self._say(finding)
        if not stopping:
            return
        if self._on_anomaly == "rollback" and self._state.rollbacks < ROLLBACKS:
            self._roll_back(stopping[0])
        self._stop(stopping[0])

    def _say(self, finding: Finding) -> None:
        last = self._said.get(finding.rule)
        if last is not None and last < finding.step < last + COOL_DOWN_STEPS:
            return
        self._said[finding.rule] = finding.step
        self._journal.event(finding, action="said")
        self._talk(f"warning: {finding.sentence}")

    def _stop(self, finding: Finding) -> NoReturn:
        run, state = self._settings.output_dir, self._state
        healthy = find_checkpoint(run, "healthy")
        if self._accelerator.is_main_process:
            self._journal.event(finding, action="stopped")
            point_to(run, "last", healthy)
        again = f" It came again after {state.rollbacks} rollbacks." if state.rollbacks else ""
        raise TrainingStopped(
            f"{finding.sentence}{again} The last healthy checkpoint is {healthy.folder}; then --resume auto."
        )

    def _roll_back(self, finding: Finding) -> NoReturn:
        run, state = self._settings.output_dir, self._state
        factor, count = state.rate_factor * RATE_FACTOR, state.rollbacks + 1
        healthy = find_checkpoint(run, "healthy")
        restore_state(healthy, state, self._settings)
        state.batch = self._place(healthy)
        state.rate_factor, state.rollbacks = factor, count
        self._accelerator.wait_for_everyone()  # all have read before one writes
        if self._accelerator.is_main_process:
            record_rollback(healthy, state)
            forget_later(run, healthy, state)
        self._journal.cut(state.step)
        what = f"rolled back to step {state.step}, learning rates now × {factor:g}"
        self._journal.event(finding, action=what, back_to=state.step)
        self._talk(f"warning: {finding.sentence} The run is {what} (rollback {count} of {ROLLBACKS}).")
        self._monitor = Monitor(self._settings, self._plan)
        self._monitor.remember(self._journal.lines_before)
        raise RolledBack
