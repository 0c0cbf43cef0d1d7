"""The plan of a listening test: which trials there are, which sound is which, and in what order listeners get them.

Everything random follows from (seed, listener number), so an order can be reconstructed from its answers. Sounds are
named by digests: neither the page nor the browser's requests reveal which system one belongs to.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from timbre_restore.errors import ListeningError

FORMAT = 1
MUSHRA, CCR = "mushra", "ccr"
KINDS = (MUSHRA, CCR)
REFERENCE, HIDDEN, LOW_ANCHOR, MID_ANCHOR = "reference", "hidden reference", "low anchor", "mid anchor"
RESERVED = (REFERENCE, HIDDEN, LOW_ANCHOR, MID_ANCHOR)
TEST, NULL, GOLD, TRAINING = "test", "null", "gold", "training"
PURPOSES = (TEST, NULL, GOLD, TRAINING)
SCALES = {MUSHRA: (0, 100), CCR: (-3, 3)}
PLAN_FILE, STIMULI, ANSWERS = "test.json", "stimuli", "answers"

MOST_RATED = 9
"""Most sounds to rate on a page, so that the keys 1 to 9 reach them. BS.1534-3 allows three more."""
FEWEST_NULLS, NULL_SHARE = 6, 0.25
FEWEST_GOLD, GOLD_SHARE = 2, 0.125
TRAINING_PAIRS = 2


@dataclass(frozen=True)
class Excerpt:
    """The part of an item that is played: the same excerpt and the same gain for all its signals."""

    start_s: float
    seconds: float
    gain_db: float


@dataclass(frozen=True)
class Trial:
    """One page. `stimuli` maps a sound's name to its role; `reference` names the sound that is shown as the reference.

    Every trial has sound files of its own, even for equal content: a file that occurs twice would be a hint.
    """

    item: str
    purpose: str
    stimuli: Mapping[str, str]
    reference: str | None = None

    def sounds(self) -> dict[str, str]:
        """Every sound of the page, including the shown reference."""
        return {**self.stimuli, **({self.reference: REFERENCE} if self.reference else {})}


@dataclass(frozen=True)
class ListeningTest:
    """A test as stored in `test.json`."""

    kind: str
    seed: int
    systems: tuple[str, ...]
    baseline: str
    sample_rate_hz: int
    items: Mapping[str, Excerpt]
    training: tuple[Trial, ...]
    trials: tuple[Trial, ...]

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}


@dataclass(frozen=True)
class Page:
    """A trial as one listener gets it, with its sounds in order."""

    trial: Trial
    order: tuple[str, ...]

    @property
    def rated(self) -> tuple[str, ...]:
        """The sounds that are rated: all of them, or the second one of a pair."""
        return self.order if self.trial.reference else self.order[1:]


def pages_of(test: ListeningTest, listener: int) -> list[Page]:
    """A listener's pages, training first, determined by (seed, listener number) alone."""
    rng = np.random.default_rng([test.seed, listener])
    order = [test.trials[index] for index in rng.permutation(len(test.trials))]
    pages = []
    for trial in (*test.training, *order):
        names = sorted(trial.stimuli)
        pages.append(Page(trial, tuple(names[index] for index in rng.permutation(len(names)))))
    return pages


def mushra_trials(
    items: Sequence[str], training: str, systems: Sequence[str], seed: int, *, mid_anchor: bool = False
) -> tuple[tuple[Trial, ...], tuple[Trial, ...]]:
    """Training and test: a page per item with all systems, the hidden reference and the anchors."""
    roles = (*systems, HIDDEN, LOW_ANCHOR, *((MID_ANCHOR,) if mid_anchor else ()))
    if len(roles) > MOST_RATED:
        raise ListeningError(
            f"{len(systems)} systems make {len(roles)} sounds to rate on a page; expected at most {MOST_RATED}, so "
            "leave out some systems or make two tests."
        )

    def page(number: int, item: str, purpose: str) -> Trial:
        names = {_name(seed, purpose, number, role): role for role in roles}
        return Trial(item, purpose, names, _name(seed, purpose, number, REFERENCE))

    return (page(0, training, TRAINING),), tuple(page(number, item, TEST) for number, item in enumerate(items))


def ccr_trials(
    items: Sequence[str], training: str, systems: Sequence[str], baseline: str, seed: int
) -> tuple[tuple[Trial, ...], tuple[Trial, ...]]:
    """Training and test: each system with the baseline per item, null pairs, and pairs with a known answer.

    A null pair is one signal twice. A pair with a known answer is the reference and its narrow-band version: it catches
    listeners who use the scale upside down, which null pairs can't.
    """
    rng = np.random.default_rng([seed, 0])
    others = [name for name in systems if name != baseline]
    pairs = [(item, TEST, (name, baseline)) for item in items for name in others]
    for number in range(max(FEWEST_NULLS, math.ceil(NULL_SHARE * len(pairs)))):
        role = (*others, baseline)[int(rng.integers(len(others) + 1))]
        pairs.append((items[number % len(items)], NULL, (role, role)))
    for number in range(max(FEWEST_GOLD, math.ceil(GOLD_SHARE * len(items) * len(others)))):
        pairs.append((items[number % len(items)], GOLD, (REFERENCE, LOW_ANCHOR)))
    lessons = [(training, TRAINING, (REFERENCE, LOW_ANCHOR)), (training, TRAINING, (others[0], baseline))]

    def pair(number: int, item: str, purpose: str, roles: tuple[str, str]) -> Trial:
        return Trial(item, purpose, {_name(seed, purpose, number, str(side)): role for side, role in enumerate(roles)})

    return (
        tuple(pair(number, *lesson) for number, lesson in enumerate(lessons[:TRAINING_PAIRS])),
        tuple(pair(number, *content) for number, content in enumerate(pairs)),
    )


def _name(seed: int, purpose: str, number: int, side: str) -> str:
    return hashlib.sha256(json.dumps([seed, purpose, number, side]).encode()).hexdigest()[:16]


def load_test(folder: Path) -> ListeningTest:
    """Read `folder/test.json`. Raises `ListeningError` if it is not a test of this version."""
    path = folder / PLAN_FILE
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT or content["kind"] not in KINDS:
            raise ValueError("unknown format or kind")
        return _test_of(content)
    except FileNotFoundError as exc:
        raise ListeningError(f"{path}: no such file; give a folder made by 'timbre-restore listen make'.") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ListeningError(
            f"{path}: is not a listening test plan that this version can read ({type(exc).__name__}: {exc}); "
            "make the test again."
        ) from exc


def _test_of(content: dict[str, Any]) -> ListeningTest:
    training, trials = (tuple(_trial_of(one) for one in content[key]) for key in ("training", "trials"))
    return ListeningTest(
        kind=content["kind"],
        seed=int(content["seed"]),
        systems=tuple(content["systems"]),
        baseline=content["baseline"],
        sample_rate_hz=int(content["sample_rate_hz"]),
        items={name: Excerpt(**excerpt) for name, excerpt in content["items"].items()},
        training=training,
        trials=trials,
    )


def _trial_of(content: dict[str, Any]) -> Trial:
    trial = Trial(content["item"], content["purpose"], dict(content["stimuli"]), content["reference"])
    if trial.purpose not in PURPOSES or len(trial.stimuli) < 2:
        raise ValueError(f"a trial of {trial.item!r} is invalid")
    return trial


def fingerprint(test: ListeningTest) -> str:
    """An identifier stored with answers, so that those of another test are detected."""
    return hashlib.sha256(json.dumps(test.as_json(), sort_keys=True).encode()).hexdigest()[:16]
