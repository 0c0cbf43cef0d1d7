"""The results of a test: means by system, differences to one of them, and who was left out.

Listeners are the clusters. Each gives one mean per system over the items, and the interval is Student's t over those
means: it tells what other listeners would say about these items, not what these listeners would say about others. A
verdict needs a minimum number of listeners, and holds for all systems of a test together (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from timbre_restore.errors import ListeningError
from timbre_restore.listening.answers import Sitting, read_answers
from timbre_restore.listening.intervals import CONFIDENCE, Estimate, estimate
from timbre_restore.listening.plan import MUSHRA, TEST, ListeningTest, Trial, load_test
from timbre_restore.listening.screening import fault_of, preference, rated_trials, role_ratings

FEWEST_LISTENERS = 8
"""Verdicts need at least this many listeners. A study needs more: BS.1534-3 speaks of 20."""
BETTER, WORSE, OPEN, TOO_FEW = "better", "worse", "no difference shown", "too few listeners"


@dataclass(frozen=True)
class Difference:
    """A system minus the baseline, over the same listeners and items, and the verdict on it."""

    estimate: Estimate
    verdict: str


@dataclass(frozen=True)
class Discarded:
    """A listener whose answers are not used, and why."""

    code: str
    reason: str


@dataclass(frozen=True)
class Analysis:
    """`means` are by role, including the hidden reference and the anchors; pairs give differences only."""

    kind: str
    items: int
    baseline: str
    used: tuple[str, ...]
    discarded: tuple[Discarded, ...]
    incomplete: Mapping[str, tuple[int, int]]
    """Unfinished sittings: pages answered and pages in total."""
    incomplete_used: bool
    damaged: tuple[str, ...]
    means: Mapping[str, Estimate]
    differences: Mapping[str, Difference]


def analyse(folder: Path, *, baseline: str | None = None, use_incomplete: bool = False) -> Analysis:
    """Read the answers of the test in `folder`. Raises `ListeningError` for a baseline that is not in the test."""
    test = load_test(folder)
    baseline = _baseline(test, baseline)
    sheet = read_answers(folder, test)
    used, discarded, incomplete = [], [], {}
    for sitting in sheet.sittings:
        if not sitting.complete:
            incomplete[sitting.code] = (len(sitting.answers), len(sitting.pages))
            if not use_incomplete or not any(True for _ in rated_trials(sitting, TEST)):
                continue
        if reason := fault_of(sitting, test.kind):
            discarded.append(Discarded(sitting.code, reason))
        else:
            used.append(sitting)
    means, differences = _sliders(used, test, baseline) if test.kind == MUSHRA else ({}, _pairs(used, test, baseline))
    return Analysis(
        kind=test.kind,
        items=len({trial.item for trial in test.trials}),
        baseline=baseline,
        used=tuple(sitting.code for sitting in used),
        discarded=tuple(discarded),
        incomplete=incomplete,
        incomplete_used=use_incomplete,
        damaged=sheet.damaged,
        means=means,
        differences=_judged(differences),
    )


def _baseline(test: ListeningTest, wanted: str | None) -> str:
    if test.kind == MUSHRA:
        known = [*test.systems, *(role for role in test.trials[0].stimuli.values() if role not in test.systems)]
        if wanted is not None and wanted not in known:
            raise ListeningError(f"the baseline {wanted!r} was not rated in this test; expected one of {known}.")
    elif wanted not in (None, test.baseline):
        raise ListeningError(
            f"the baseline {wanted!r} is not what listeners compared with; expected {test.baseline!r}, which is in all "
            "pairs of this test."
        )
    return wanted or test.baseline


def _sliders(
    used: Sequence[Sitting], test: ListeningTest, baseline: str
) -> tuple[dict[str, Estimate], dict[str, list[float]]]:
    """Means by role, and each listener's mean difference to the baseline by system."""
    rated = {sitting.code: role_ratings(sitting) for sitting in used}
    roles = [*test.systems, *sorted(set(test.trials[0].stimuli.values()) - set(test.systems), reverse=True)]
    if not used:
        return {}, {}
    means = {role: [_mean([page[role] for page in pages]) for pages in rated.values()] for role in roles}
    differences = {
        role: [own - other for own, other in zip(means[role], means[baseline], strict=True)]
        for role in test.systems
        if role != baseline
    }
    return {role: estimate(values) for role, values in means.items()}, differences


def _pairs(used: Sequence[Sitting], test: ListeningTest, baseline: str) -> dict[str, list[float]]:
    """Each listener's mean preference over the baseline, by system; a listener without pairs of a system gives none."""
    found: dict[str, list[float]] = {name: [] for name in test.systems if name != baseline}
    for sitting in used:
        points: dict[str, list[int]] = {name: [] for name in found}
        for trial, ratings in rated_trials(sitting, TEST):
            name = _compared(trial, baseline)
            points[name].append(preference(trial, ratings, name))
        for name, values in points.items():
            if values:
                found[name].append(_mean(values))
    return {name: values for name, values in found.items() if values}


def _compared(trial: Trial, baseline: str) -> str:
    return next(role for role in trial.stimuli.values() if role != baseline)


def _judged(differences: Mapping[str, Sequence[float]]) -> dict[str, Difference]:
    """With several systems a verdict uses a wider interval than the one shown, so that all verdicts hold together."""
    strict = 1.0 - (1.0 - CONFIDENCE) / max(1, len(differences))
    return {
        name: Difference(estimate(values), _verdict(estimate(values, strict))) for name, values in differences.items()
    }


def _verdict(found: Estimate) -> str:
    if found.listeners < FEWEST_LISTENERS or found.low is None or found.high is None:
        return TOO_FEW
    return BETTER if found.low > 0.0 else WORSE if found.high < 0.0 else OPEN


def _mean(values: Sequence[int]) -> float:
    return math.fsum(values) / len(values)
