"""Screening of listeners: the rules by which a listener's answers are left out, and the reason that is reported."""

from __future__ import annotations

from collections.abc import Iterator

from timbre_restore.listening.answers import Sitting
from timbre_restore.listening.plan import GOLD, HIDDEN, LOW_ANCHOR, MID_ANCHOR, MUSHRA, NULL, REFERENCE, TEST, Trial

HIGH_RATING = 90
TOLERATED_SHARE = 0.15
NULL_LIMIT = 1

_SHARE = f"{100 * TOLERATED_SHARE:g} %"

RULES = {
    MUSHRA: (
        f"Listeners are left out if they rate the hidden reference below {HIGH_RATING} in more than "
        f"{_SHARE} of the items, or the anchor (the mid anchor if there is one) above {HIGH_RATING} in "
        f"more than {_SHARE} (after ITU-R BS.1534-3, 4.1.2)."
    ),
    "ccr": (
        f"Listeners are left out if they rate more than {_SHARE} of the null pairs beyond ±{NULL_LIMIT}, or "
        f"the narrow-band version better than the reference in more than {_SHARE} of the pairs with a "
        "known answer (this project's rule), or if they answered no pair of one of these kinds."
    ),
}


def rated_trials(sitting: Sitting, *purposes: str) -> Iterator[tuple[Trial, dict[str, int]]]:
    """Answered trials with these purposes, each with its ratings by sound."""
    for number, answer in sorted(sitting.answers.items()):
        trial = sitting.pages[number].trial
        if trial.purpose in purposes:
            yield trial, dict(answer.ratings)


def role_ratings(sitting: Sitting) -> list[dict[str, int]]:
    """Ratings by role, for each answered page of a slider test."""
    return [
        {trial.stimuli[name]: rating for name, rating in ratings.items()}
        for trial, ratings in rated_trials(sitting, TEST)
    ]


def preference(trial: Trial, ratings: dict[str, int], role: str) -> int:
    """A pair's rating as points in favour of `role`, whichever was heard first."""
    ((second, rating),) = ratings.items()
    return rating if trial.stimuli[second] == role else -rating


def fault_of(sitting: Sitting, kind: str) -> str | None:
    """Why a listener is left out, or None."""
    return _slider_fault(sitting) if kind == MUSHRA else _pair_fault(sitting)


def _slider_fault(sitting: Sitting) -> str | None:
    pages = role_ratings(sitting)
    anchor = MID_ANCHOR if any(MID_ANCHOR in page for page in pages) else LOW_ANCHOR
    below = sum(page[HIDDEN] < HIGH_RATING for page in pages)
    above = sum(page[anchor] > HIGH_RATING for page in pages)
    if below > TOLERATED_SHARE * len(pages):
        return f"rated the hidden reference below {HIGH_RATING} in {below} of {len(pages)} items"
    if above > TOLERATED_SHARE * len(pages):
        return f"rated the {anchor} above {HIGH_RATING} in {above} of {len(pages)} items"
    return None


def _pair_fault(sitting: Sitting) -> str | None:
    nulls = [abs(next(iter(ratings.values()))) for _, ratings in rated_trials(sitting, NULL)]
    known = [preference(trial, ratings, REFERENCE) for trial, ratings in rated_trials(sitting, GOLD)]
    if not nulls or not known:
        return "answered no null pair, or no pair with a known answer"
    beyond, wrong = sum(points > NULL_LIMIT for points in nulls), sum(points < 0 for points in known)
    if beyond > TOLERATED_SHARE * len(nulls):
        return f"rated {beyond} of {len(nulls)} null pairs beyond ±{NULL_LIMIT}"
    if wrong > TOLERATED_SHARE * len(known):
        return f"rated the narrow-band version better than the reference in {wrong} of {len(known)} pairs"
    return None
