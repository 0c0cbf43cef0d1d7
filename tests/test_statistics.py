"""Intervals: they cover as often as they say, by speaker, and are none where too few speak."""

from __future__ import annotations

import numpy as np
import pytest

from timbre_restore.evaluation import statistics
from timbre_restore.evaluation.statistics import expanded_tail, interval
from timbre_restore.student import t_quantile

PUBLISHED_T = {1: 12.706, 2: 4.303, 3: 3.182, 5: 2.571, 9: 2.262, 15: 2.131, 30: 2.042}
"""Two-sided 95 %, to three places, as tables of Student's t print them."""


def covered(
    speakers: int, items: int | tuple[int, ...], *, by_speaker: bool = True, skewed: bool = False, runs: int = 400
) -> float:
    """How often the interval holds the truth, where speakers, of so many items each, differ as much as these do."""
    rng = np.random.default_rng([speakers, *np.atleast_1d(items).tolist(), skewed])
    numbers = np.repeat(np.arange(speakers), items)
    hits = 0
    for run in range(runs):
        voices = rng.exponential(1.0, speakers) - 1.0 if skewed else rng.normal(0.0, 1.0, speakers)
        values = voices[numbers] + rng.normal(0.0, 1.0, len(numbers))
        names = [f"s{number}" for number in numbers] if by_speaker else None
        found = interval(values, names, seed=run, resamples=600)
        assert found is not None
        hits += found[0] <= 0.0 <= found[1]
    return hits / runs


@pytest.mark.parametrize("skewed", [False, True])
def test_with_sixteen_speakers_it_covers_as_often_as_it_says(skewed: bool) -> None:
    assert 0.90 <= covered(16, 3, skewed=skewed) <= 0.98


@pytest.mark.parametrize("speakers", [3, 4, 5, 6, 7])
def test_with_few_speakers_too(speakers: int) -> None:
    assert 0.90 <= covered(speakers, 4) <= 0.985


UNEQUAL = [(40, 2, 2), (10, 2, 2), (60, 10, 8, 4, 2), (30, 5, 5, 2)]


@pytest.mark.parametrize("sizes", UNEQUAL)
def test_with_few_speakers_of_whom_one_has_most_items_too(sizes: tuple[int, ...]) -> None:
    assert 0.87 <= covered(len(sizes), sizes) <= 0.985


def test_items_of_one_voice_are_not_as_many_voices() -> None:
    assert covered(16, 5, by_speaker=False) < 0.75


def test_plain_percentiles_would_be_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = covered(7, 4)
    monkeypatch.setattr(statistics, "expanded_tail", lambda _count: 0.025)
    assert covered(7, 4) < min(0.91, wide - 0.03)


def test_quantiles_are_those_of_the_tables() -> None:
    for freedom, value in PUBLISHED_T.items():
        assert t_quantile(0.95, freedom) == pytest.approx(value, abs=5e-4), freedom
    assert expanded_tail(10_000) == pytest.approx(0.025, abs=1e-4)
    assert expanded_tail(5) < 0.002


def test_it_is_seeded_and_the_names_of_speakers_do_not_matter() -> None:
    values = np.random.default_rng(0).normal(size=30)
    names = [str(n // 3) for n in range(30)]
    first = interval(values, names)
    assert first == interval(values, [f"voice {name}" for name in names]) != interval(values, names, seed=1)


def test_too_few_have_none() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert interval(values, ["a", "a", "b", "b"]) is None and interval(values[:2]) is None
    assert interval(values[:0]) is None
    assert interval(np.ones(4)) == (1.0, 1.0)


def test_many_items_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=500)
    whole = interval(values)
    monkeypatch.setattr(statistics, "BLOCK_CELLS", 700)
    assert interval(values) == pytest.approx(whole, rel=1e-12)
