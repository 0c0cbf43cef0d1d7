"""Acts on findings: prints a warning, stops the run at its last healthy checkpoint, or continues from that one."""

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
"""A rule that was reported is not reported again for this many steps."""
ROLLBACKS = 3
RATE_FACTOR = 0.5


class RolledBack(Exception):
    """The state was restored to an earlier one; the run continues from there."""


class Guard:
    """Passes what happens to the monitor and acts on its findings, in the same way in every process."""

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
        """`place` returns the batch of its epoch from which a run continues after a checkpoint."""
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
        """Whether the current state is safe to go back to."""
        return not self._monitor.suspects

    def look(self, place: float, means: Mapping[str, float], **local: Any) -> None:
        """Check a log interval whose last step was at `place`; `local` is what `monitors.Local` saw."""
        self._act(self._monitor.look(self._state.step, place, means, **local))

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Check an epoch after its validation, before it is counted."""
        self._act(self._monitor.epoch(self._state.step, self._state.epoch, metrics))

    def may_save(self, means: Mapping[str, float]) -> bool:
        """Whether the state may be saved to a checkpoint; `means` cover the steps since the last log line."""
        state = self._state
        found = self._monitor.unfit(state.step, state.epoch, means)
        networks = {"generator": state.generator, "discriminators": state.discriminators, "ema": state.ema}
        if not found and (names := not_finite(networks)):
            found = [self._lost(names)]
        self._act(found)
        return not any(finding.rule == "nan" for finding in found)

    def out_of_memory(self, reason: str) -> NoReturn:
        """Stop the run after a step ran out of memory, perhaps only in this process, and left an incomplete update."""
        gan = self._plan.gan(self._state.epoch)
        self._stop(out_of_memory(self._state.step + 1, self._settings, reason, gan=gan))

    def _lost(self, names: Sequence[str]) -> Finding:
        rate = self._settings.learning_rate
        return Finding(
            "nan",
            self._state.step,
            f"weights of {' and '.join(names)} are NaN or infinite",
            "the run has diverged",
            f"lower training.learning_rate from {rate:g} to {rate / 3:.2g}",
            stops=True,
        )

    def _act(self, findings: Sequence[Finding]) -> None:
        """Report all findings, then act on the first one that stops."""
        if self._accelerator.num_processes > 1:
            # The clocks and sums of one process may show what another's don't, but all must decide the same.
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
        again = f" It happened again after {state.rollbacks} rollbacks." if state.rollbacks else ""
        raise TrainingStopped(
            f"{finding.sentence}{again} The last healthy checkpoint is {healthy.folder}; after the change, continue "
            "from it with --resume auto."
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
