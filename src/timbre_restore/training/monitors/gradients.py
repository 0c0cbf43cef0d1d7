"""The generator's gradient norm, before clipping, and how often it is clipped."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from statistics import mean, median

from timbre_restore.training.findings import Finding
from timbre_restore.training.monitors.look import Lasting, Look
from timbre_restore.training.monitors.losses import FEWEST, WINDOW_STEPS, third
from timbre_restore.training.settings import TrainSettings

EXPLODED = 100.0
VANISHED = 0.01
FALLEN = 0.1
VANISHED_STEPS = 50
CLIPPED = 0.98
FAR_OVER = 3.0
"""Times the clip; nearer to it the clip changes little."""


class Explodes:
    """A norm far above its level. Clipping bounds what it does, so it is said."""

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
                "steps are near to diverging, or a batch holds a broken item",
                f"{third('training.learning_rate', self._settings.learning_rate)}, or "
                f"{third('training.gradient_clip', self._settings.gradient_clip)}",
            )
        self._recent.append(norm)


class Vanishes:
    """A norm of next to nothing against what it was, and against what may pass: the generator is saturated.

    A hundredth of the clip, which is set to the gradient's size, and a tenth of the highest norm. The highest alone
    would not do: where the first steps saturate the generator, the first interval's mean is small already, and one wild
    step makes every later one look small. A clip over a hundred times all that was seen limits nothing, and says
    nothing; then it is a hundredth of the highest.
    """

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
        if self._lasting.add(norm < (limit := self._limit()), look.steps):
            rate = self._settings.learning_rate
            yield Finding(
                "gradient_vanishes",
                look.step,
                f"gradient_norm is {norm:.2g}, under {limit:.2g} for {VANISHED_STEPS} steps, after {self._highest:.3g}",
                "the generator is saturated and learns nothing more, as after steps that were too large",
                f"lower training.learning_rate from {rate:g} to {rate / 10:.2g}, and go on from before",
                stops=True,
            )

    def _limit(self) -> float:
        clip = VANISHED * self._settings.gradient_clip
        return min(clip, FALLEN * self._highest) if self._highest > clip else VANISHED * self._highest


class Clipped:
    """Clipping in nearly every step: the rate says little any more, and the clip everything."""

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
                f"the gradient was clipped to {clip:g} in {share:.0%} of the last {WINDOW_STEPS} steps; its norm is "
                f"mostly {norm:.3g}",
                "the limit, not the learning rate, decides how far a step goes",
                f"raise training.gradient_clip from {clip:g} to {2 * norm:.2g}, or "
                f"{third('training.learning_rate', self._settings.learning_rate)}",
            )
