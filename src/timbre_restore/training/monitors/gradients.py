"""Rules on the generator's gradient norm before clipping, and on how often it is clipped."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from statistics import mean, median

from timbre_restore.training.monitors.findings import Finding
from timbre_restore.training.monitors.look import Lasting, Look
from timbre_restore.training.monitors.losses import FEWEST, WINDOW_STEPS, third
from timbre_restore.training.settings import TrainSettings

EXPLODED = 100.0
VANISHED = 0.01
VANISHED_STEPS = 50
CLIPPED = 0.98
FAR_OVER = 3.0
"""Factor over the limit; closer to the limit, clipping changes little."""


class Explodes:
    """A norm far above its usual level. Clipping limits its effect, so this is only a warning."""

    suspects = False

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._phase = ""
        self._recent: deque[float] = deque(maxlen=max(FEWEST, WINDOW_STEPS // settings.log_every_steps))

    def look(self, look: Look) -> Iterator[Finding]:
        norm = look.means.get("gradient_norm", math.nan)
        if not math.isfinite(norm):
            return
        if look.phase != self._phase:
            self._phase = look.phase
            self._recent.clear()
        if len(self._recent) >= FEWEST and norm > EXPLODED * (level := median(self._recent)):
            yield Finding(
                "gradient_explodes",
                look.step,
                f"gradient_norm is {norm:.3g}, over {EXPLODED:g} times its recent level of {level:.3g}",
                "training is close to diverging, or a batch holds a broken item",
                f"{third('training.learning_rate', self._settings.learning_rate)}, or "
                f"{third('training.gradient_clip', self._settings.gradient_clip)}",
            )
        self._recent.append(norm)


class Vanishes:
    """A norm near zero compared with its earlier values and with the clipping limit: the generator is saturated."""

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._highest = 0.0
        self._lasting = Lasting(VANISHED_STEPS)

    @property
    def suspects(self) -> bool:
        return self._lasting.begun

    def look(self, look: Look) -> Iterator[Finding]:
        norm = look.means.get("gradient_norm", math.nan)
        if not math.isfinite(norm):
            return
        self._highest = max(self._highest, norm)
        # A single outlier must not make every later step look small.
        level = min(self._highest, self._settings.gradient_clip)
        if self._lasting.add(norm < VANISHED * level, look.steps):
            rate = self._settings.learning_rate
            yield Finding(
                "gradient_vanishes",
                look.step,
                f"gradient_norm is {norm:.2g}, under a hundredth of {level:.3g}, for {VANISHED_STEPS} steps",
                "the generator is saturated and no longer learns, as after steps that were too large",
                f"lower training.learning_rate from {rate:g} to {rate / 10:.2g}, and resume from before",
                stops=True,
            )


class Clipped:
    """Clipping in nearly every step: the limit, rather than the learning rate, determines the step size."""

    suspects = False

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._recent: deque[float] = deque(maxlen=max(FEWEST, WINDOW_STEPS // settings.log_every_steps))
        self._norms: deque[float] = deque(maxlen=self._recent.maxlen)

    def look(self, look: Look) -> Iterator[Finding]:
        if "clipped" not in look.means or not math.isfinite(look.means["gradient_norm"]):
            return
        self._recent.append(look.means["clipped"])
        self._norms.append(look.means["gradient_norm"])
        share, norm, clip = mean(self._recent), median(self._norms), self._settings.gradient_clip
        if len(self._recent) == self._recent.maxlen and share >= CLIPPED and norm > FAR_OVER * clip:
            yield Finding(
                "gradient_clipped",
                look.step,
                f"the gradient was clipped to {clip:g} in {share:.0%} of the last {WINDOW_STEPS} steps; its median "
                f"norm is {norm:.3g}",
                "the limit, not the learning rate, decides how far a step goes",
                f"raise training.gradient_clip from {clip:g} to {2 * norm:.2g}, or "
                f"{third('training.learning_rate', self._settings.learning_rate)}",
            )
