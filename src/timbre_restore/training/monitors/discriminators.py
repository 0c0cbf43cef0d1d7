"""Rules on the balance of the GAN: which side wins, whether one is stuck, and whether the labels are swapped.

`chance` is the loss of a discriminator that knows nothing, 1 with the hinge and 1/4 with least squares; D_real and
D_fake are measured relative to it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from statistics import median

from timbre_restore.training.monitors.findings import Finding
from timbre_restore.training.monitors.look import Lasting, Look
from timbre_restore.training.monitors.losses import FEWEST, WINDOW_STEPS, third
from timbre_restore.training.settings import TrainSettings

CHANCE = {"hinge": 1.0, "lsgan": 0.25}
EXPLODED = 10.0
STUCK = 0.01
WON = 0.05
STUCK_STEPS = 100
EVEN = 0.15
"""Within this distance from chance, D knows nothing."""
DRIFT = 1.25
APART = 0.7
TOLD_APART = 0.2
"""If the scores of both voices are closer than this, the discriminators know next to nothing."""
SWAPPED_STEPS = 100
SWAPPED_LOOKS = 10
NEARER = 3.0
BELOW_STEPS = 200
BELOW = 0.1
EXACT = 1e-5
"""Tolerance for a mean of scores in single precision."""
ROUNDING = {"no": 1e-3, "bf16": 1e-2}


def _pair(means: Mapping[str, float], chance: float) -> tuple[float, float] | None:
    """D_real and D_fake divided by chance; None if the discriminators do not take part."""
    if "d_real" not in means or "d_fake" not in means:
        return None
    return means["d_real"] / chance, means["d_fake"] / chance


class Exploded:
    """D_real or D_fake is over 10 times chance."""

    suspects = False

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings

    def look(self, look: Look) -> Iterator[Finding]:
        for name in ("d_real", "d_fake"):
            limit = EXPLODED * CHANCE[self._settings.adversarial_loss]
            if limit < look.means.get(name, 0.0) < math.inf:
                yield Finding(
                    "discriminators_explode",
                    look.step,
                    f"{name} is {look.means[name]:.3g}, over {limit:g}",
                    "the discriminators' steps are too large",
                    third("training.discriminator_learning_rate", self._settings.discriminator_learning_rate),
                    stops=True,
                )
                return


class Stuck:
    """D_real and D_fake, or one of them, have been at 0 for so long that nothing is learned from them."""

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._lasting = {name: Lasting(STUCK_STEPS) for name in ("both", "d_real", "d_fake")}

    @property
    def suspects(self) -> bool:
        return any(lasting.begun for lasting in self._lasting.values())

    def look(self, look: Look) -> Iterator[Finding]:
        pair = _pair(look.means, CHANCE[self._settings.adversarial_loss])
        if pair is None:
            return
        holds = {"both": max(pair) < WON, "d_real": pair[0] < STUCK, "d_fake": pair[1] < STUCK}
        lasted = {name: lasting.add(holds[name], look.steps) for name, lasting in self._lasting.items()}
        seen = f"D_real is {look.means['d_real']:.3g} and D_fake {look.means['d_fake']:.3g}"
        lower = third("training.discriminator_learning_rate", self._settings.discriminator_learning_rate)
        if lasted["both"]:
            yield Finding(
                "discriminators_win",
                look.step,
                f"{seen}, both near 0 for {STUCK_STEPS} steps",
                "the discriminators tell every voice apart and the generator learns nothing from them",
                f"{lower}, or lower discriminators.channels from {self._settings.discriminators.channels}",
                stops=True,
            )
        elif lasted["d_real"] or lasted["d_fake"]:
            yield Finding(
                "discriminators_stuck",
                look.step,
                f"{seen}, one of them near 0 for {STUCK_STEPS} steps",
                "the discriminators give everything the same answer",
                lower,
                stops=True,
            )


class GeneratorWins:
    """The discriminators no longer know anything, while the spectra are getting worse than when the GAN began."""

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        length = max(FEWEST, WINDOW_STEPS // settings.log_every_steps)
        self._spectra: deque[float] = deque(maxlen=length)
        self._even: deque[bool] = deque(maxlen=length)
        self._level: float | None = None
        self.suspects = False

    def look(self, look: Look) -> Iterator[Finding]:
        if "multi_stft" not in look.means:
            return
        pair = _pair(look.means, CHANCE[self._settings.adversarial_loss])
        if pair is not None and self._level is None and len(self._spectra) >= FEWEST:
            self._level = median(self._spectra)
            self._spectra.clear()
        self._spectra.append(look.means["multi_stft"])
        if pair is None or self._level is None:
            return
        self._even.append(all(abs(loss - 1.0) < EVEN for loss in pair))
        now = median(self._spectra)
        self.suspects = all(self._even) and len(self._spectra) >= FEWEST and now > DRIFT * self._level
        if self.suspects and len(self._even) == self._even.maxlen:
            yield Finding(
                "generator_wins",
                look.step,
                f"D_real is {look.means['d_real']:.3g} and D_fake {look.means['d_fake']:.3g}, as by chance, and "
                f"multi_stft is {now:.3g}, up from {self._level:.3g} when the GAN began",
                "the generator fools discriminators that know nothing, and moves away from the voice to do so",
                f"lower training.loss_weights.adversarial from {self._settings.loss_weights['adversarial']:g} to "
                f"{self._settings.loss_weights['adversarial'] / 3:.2g}, or raise "
                f"training.discriminator_learning_rate from {self._settings.discriminator_learning_rate:g}",
                stops=True,
            )


class FarApart:
    """D_real and D_fake are far apart in the median of the last 200 steps."""

    suspects = False

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._apart: deque[float] = deque(maxlen=max(FEWEST, WINDOW_STEPS // settings.log_every_steps))

    def look(self, look: Look) -> Iterator[Finding]:
        pair = _pair(look.means, CHANCE[self._settings.adversarial_loss])
        if pair is None:
            return
        self._apart.append(pair[0] - pair[1])
        if len(self._apart) == self._apart.maxlen and abs(apart := median(self._apart)) > APART:
            likely, change = self._reason(look, apart)
            yield Finding(
                "discriminators_apart",
                look.step,
                f"D_real is {look.means['d_real']:.3g} and D_fake {look.means['d_fake']:.3g}, {abs(apart):.2g} times "
                "chance apart over 200 steps",
                likely,
                change,
            )

    def _reason(self, look: Look, apart: float) -> tuple[str, str]:
        """What it likely means, and what to change."""
        rate = self._settings.discriminator_learning_rate
        if abs(look.means.get("score_real", math.inf) - look.means.get("score_fake", -math.inf)) < TOLD_APART:
            # If both voices get the same score, the hinge losses are flat: any score from -1 to 1 costs 2 in total.
            wider = f"discriminators.channels from {self._settings.discriminators.channels}"
            return (
                "the discriminators hardly tell clean from restored, and the score that they give to both drifts",
                f"raise training.discriminator_learning_rate from {rate:g} to {3 * rate:.2g}, or {wider}",
            )
        harder = "clean" if apart > 0 else "restored"
        return (
            f"the discriminators favour one side, and fail on {harder} voices",
            third("training.discriminator_learning_rate", rate),
        )


class Swapped:
    """Whether the discriminators are taught with clean and restored swapped; detected in three ways.

    1. A loss is convex in the score, so its mean is at least the loss of the mean score. With the hinge, D_real ≥
       1 − score_real and D_fake ≥ 1 + score_fake; with least squares, D_real ≥ (1 − score_real)² and D_fake ≥
       score_fake². If it is less, the losses do not belong to these scores: the targets are swapped. Moreover, as long
       as scores are between -1 and 1, the hinge is linear and both are equal; if instead D_real equals 1 − score_fake
       and D_fake equals 1 + score_real, the voices are swapped, however small the difference between the scores is.
    2. The generator is judged by the same discriminators on the same restored voices, so its loss follows from
       score_fake (with the hinge it is −score_fake). If it follows score_real far more closely, D was taught with the
       batches swapped. Comparing squared errors needs no unit, and detects this long before the scores diverge.
    3. Clean voices have been scored below restored ones for a long time.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self._kind = settings.adversarial_loss
        self._rounding = ROUNDING[settings.mixed_precision]
        self._targets, self._below = Lasting(1, 2), Lasting(BELOW_STEPS)
        self._squares: deque[tuple[int, float, float]] = deque(maxlen=max(10, WINDOW_STEPS // settings.log_every_steps))

    @property
    def suspects(self) -> bool:
        return self._targets.begun or self._below.begun or (len(self._squares) > 2 and self._contradicts())

    def look(self, look: Look) -> Iterator[Finding]:
        if not {"d_real", "d_fake", "score_real", "score_fake"} <= look.means.keys():
            return
        means = look.means
        targets = self._targets.add(self._impossible(means) or self._of_the_other(means), look.steps)
        below = self._below.add(means["score_real"] < means["score_fake"] - BELOW, look.steps)
        scores = f"score_real is {means['score_real']:.3g} and score_fake {means['score_fake']:.3g}"
        if targets:
            seen = f"{scores}, which D_real {means['d_real']:.3g} and D_fake {means['d_fake']:.3g} can't come from"
        elif self._batches_swapped(look):
            seen = f"the generator's loss ({means['adversarial']:.3g}) follows score_real rather than score_fake"
        elif below:
            seen = f"{scores}: restored voices have been rated cleaner than clean ones for {BELOW_STEPS} steps"
        else:
            return
        yield Finding(
            "labels_swapped",
            look.step,
            seen,
            "the discriminators are taught with clean and restored swapped",
            "check the order of clean and restored in the discriminators' step and losses if you changed the code; "
            "otherwise set training.gan_start_epoch to a later epoch",
            stops=True,
        )

    def _impossible(self, means: Mapping[str, float]) -> bool:
        real, fake = means["score_real"], means["score_fake"]
        least = (1.0 - real, 1.0 + fake) if self._kind == "hinge" else ((1.0 - real) ** 2, fake**2)
        return means["d_real"] < least[0] - self._rounding or means["d_fake"] < least[1] - self._rounding

    def _of_the_other(self, means: Mapping[str, float]) -> bool:
        """Whether both losses match the scores of the other voice, to the last digits, and not their own."""
        if self._kind != "hinge" or self._rounding > ROUNDING["no"]:
            return False
        real, fake = means["score_real"], means["score_fake"]
        other = max(abs(means["d_real"] - (1.0 - fake)), abs(means["d_fake"] - (1.0 + real)))
        own = max(abs(means["d_real"] - (1.0 - real)), abs(means["d_fake"] - (1.0 + fake)))
        return other < EXACT < own / NEARER

    def _batches_swapped(self, look: Look) -> bool:
        if "adversarial" not in look.means:
            return False
        paid, real, fake = (look.means[name] for name in ("adversarial", "score_real", "score_fake"))
        ours, theirs = (-fake, -real) if self._kind == "hinge" else ((1.0 - fake) ** 2, (1.0 - real) ** 2)
        self._squares.append((look.steps, (paid - ours) ** 2, (paid - theirs) ** 2))
        lasted = len(self._squares) >= SWAPPED_LOOKS and sum(s for s, _, _ in self._squares) >= SWAPPED_STEPS
        return lasted and self._contradicts()

    def _contradicts(self) -> bool:
        ours, theirs = (sum(entry[i] for entry in self._squares) for i in (1, 2))
        return ours > NEARER * theirs
