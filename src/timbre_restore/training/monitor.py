"""Stop rules: a number that is none, or a loss far above its recent level."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median

from timbre_restore.errors import TrainingStopped

WATCHED = ("l1", "multi_stft", "feature_matching")
FACTOR = 10.0
WINDOW_STEPS = 200
FEWEST = 5


class Monitor:
    """Sees the mean of each named loss over every `interval_steps` steps.

    The adversarial terms cross zero and the discriminator's terms move with the game, so the factor rule watches only
    the terms that a healthy run lowers slowly; that none is NaN is asked of all.
    """

    def __init__(self, interval_steps: int) -> None:
        self._length = max(FEWEST, WINDOW_STEPS // interval_steps)
        self._recent: dict[str, deque[float]] = {}

    def remember(self, losses: Mapping[str, float]) -> None:
        """Take what an earlier part of the run logged as the recent level."""
        for name in WATCHED:
            if name in losses:
                self._recent.setdefault(name, deque(maxlen=self._length)).append(losses[name])

    def refuse_nan(self, step: int, losses: Mapping[str, float]) -> None:
        """Raise `TrainingStopped` where a loss is no number; what trained on it is not worth a checkpoint."""
        for name, value in losses.items():
            if not math.isfinite(value):
                raise TrainingStopped(
                    f"step {step}: {name} is {value}: the run has diverged. The last checkpoint is from before; lower "
                    "training.learning_rate (try a third) or training.gradient_clip, then --resume auto."
                )

    def observe(self, step: int, losses: Mapping[str, float]) -> None:
        """Raise `TrainingStopped` when a rule fires."""
        self.refuse_nan(step, losses)
        for name, value in losses.items():
            if name not in WATCHED:
                continue
            recent = self._recent.setdefault(name, deque(maxlen=self._length))
            if len(recent) >= FEWEST and value > FACTOR * median(recent):
                raise TrainingStopped(
                    f"step {step}: {name} is {value:.3g}, over {FACTOR:g} times its recent level of "
                    f"{median(recent):.3g}. Look at the items around this step, or lower training.learning_rate (try "
                    "a third), then --resume auto."
                )
            recent.append(value)
