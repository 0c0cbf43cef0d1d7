"""Rules on losses: NaN or infinite values, values far above their usual level, a validation that no longer falls."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from statistics import median

from timbre_restore.training.monitors.findings import Finding
from timbre_restore.training.monitors.look import Look
from timbre_restore.training.settings import TrainSettings

FACTOR = 10.0
WINDOW_STEPS = 200
FEWEST = 5
PATIENCE_EPOCHS = 5


def third(key: str, value: float) -> str:
    """The advice to lower `key` to a third."""
    return f"lower {key} from {value:g} to {value / 3:.2g}"


class NotFinite:
    """A loss or a gradient norm that is NaN or infinite: the weights trained on it are lost."""

    suspects = False

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings

    def look(self, look: Look) -> Iterator[Finding]:
        for name, value in look.means.items():
            if not math.isfinite(value):
                yield Finding(
                    "nan",
                    look.step,
                    f"{name} is {value}",
                    "the run has diverged, or an item of the corpus holds invalid samples",
                    f"{third('training.learning_rate', self._settings.learning_rate)}, and audit the corpus",
                    stops=True,
                )
                return


class Leap:
    """A named loss is over 10 times its median of the last 200 steps.

    The generator's adversarial loss crosses zero and the discriminators' losses vary with the balance of the GAN; they
    have their own rules. Each phase restarts the level, and the old one applies until there is a new one.
    """

    suspects = False

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._watched = set(settings.loss_weights) - {"adversarial"}
        self._length = max(FEWEST, WINDOW_STEPS // settings.log_every_steps)
        self._phase = ""
        self._recent: dict[str, deque[float]] = {}
        self._before: dict[str, deque[float]] = {}

    def look(self, look: Look) -> Iterator[Finding]:
        if look.phase != self._phase:
            self._phase, self._before, self._recent = look.phase, self._before | self._recent, {}
        for name in sorted(self._watched & look.means.keys()):
            value = look.means[name]
            level = self._level(name)
            if level is not None and value > FACTOR * level:
                yield self._finding(look.step, name, value, level)
            elif math.isfinite(value):
                self._recent.setdefault(name, deque(maxlen=self._length)).append(value)

    def _level(self, name: str) -> float | None:
        for known in (self._recent, self._before):
            if len(values := known.get(name, ())) >= FEWEST:
                return median(values)
        return None

    def leaps(self, step: int, means: Mapping[str, float]) -> Iterator[Finding]:
        """The same check without storing the values."""
        for name in sorted(self._watched & means.keys()):
            level = self._level(name)
            if level is not None and means[name] > FACTOR * level:
                yield self._finding(step, name, means[name], level)

    def _finding(self, step: int, name: str, value: float, level: float) -> Finding:
        return Finding(
            "leap",
            step,
            f"{name} is {value:.3g}, over {FACTOR:g} times its recent level of {level:.3g}",
            "steps are too large, or a batch holds a broken item",
            f"{third('training.learning_rate', self._settings.learning_rate)}, and check the items around this step",
            stops=True,
        )


class Stagnation:
    """The validation metric has not fallen for 5 epochs of a phase.

    The GAN trades some of it for perceived quality, so each phase is compared with its own best.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._phase = ""
        self._best = math.inf
        self._since = 0

    def epoch(self, step: int, phase: str, metrics: Mapping[str, float]) -> Iterator[Finding]:
        """Take the metrics of a completed epoch."""
        name = self._settings.best_metric
        if name not in metrics:
            return
        if phase != self._phase:
            self._phase, self._best, self._since = phase, math.inf, 0
        if metrics[name] < self._best:
            self._best, self._since = metrics[name], 0
            return
        self._since += 1
        if self._since % PATIENCE_EPOCHS == 0:
            yield Finding(
                "no_progress",
                step,
                f"{name} has not fallen below {self._best:.4g} for {self._since} epochs",
                "the network has learned what it can from this corpus at this rate",
                f"{third('training.learning_rate', self._settings.learning_rate)}, prepare more recordings "
                "(data.passes), or end here and use the best checkpoint",
            )
