"""The operating curve: over-suppression against residual noise as the strength goes from 0 to 1.

Outputs of one model at two strengths differ by a multiple of what it adds, and those of the suppressor with two
attenuation limits by a multiple of what it removed. So each is a line through two signals, a + s·(b − a), and no point
needs another run of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from timbre_restore.audio import FloatArray, from_db
from timbre_restore.evaluation.results import Evaluation, Point
from timbre_restore.evaluation.summary import comparable
from timbre_restore.metrics.cells import band_cells, rates_of
from timbre_restore.suppressors import NO_LIMIT_DB

STRENGTHS = tuple(round(0.1 * step, 1) for step in range(11))
AtLevel = Callable[[FloatArray], FloatArray]
"""Processing of an output `[T]` before it is measured against a reference that has had the same processing."""
LIMITS_DB = (6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0, 30.0, 36.0, 48.0)


def of_strengths(
    degraded: FloatArray, output: FloatArray, reference: FloatArray, strength: float, at_level: AtLevel
) -> Sequence[Point]:
    """Rates of a model at `STRENGTHS`, from its output at `strength`; `reference` is already at the item's level."""
    return _points(degraded, output, reference, {s: s / strength for s in STRENGTHS}, at_level)


def of_limits(
    noisy: FloatArray, degraded: FloatArray, reference: FloatArray, floor_db: float, at_level: AtLevel
) -> Sequence[Point]:
    """Rates of the suppressor with those attenuation limits of `LIMITS_DB` that lie below its own, `floor_db`."""
    places = {limit: mixed_in(limit, floor_db) for limit in LIMITS_DB if limit < floor_db}
    return _points(degraded, noisy, reference, places, at_level)


def mixed_in(limit_db: float, floor_db: float) -> float:
    """Share of the noisy signal to mix into a degraded one with limit `floor_db` to get one with limit `limit_db`.

    libDF mixes with l = 10^(−limit / 20): going from l₀·noisy + (1 − l₀)·full to l·noisy + (1 − l)·full takes
    (l − l₀) / (1 − l₀). From `NO_LIMIT_DB` on there is no limit.
    """
    own = 0.0 if floor_db >= NO_LIMIT_DB else from_db(-floor_db)
    return (from_db(-limit_db) - own) / (1.0 - own)


def _points(
    a: FloatArray, b: FloatArray, reference: FloatArray, places: dict[float, float], at_level: AtLevel
) -> Sequence[Point]:
    wanted, difference = band_cells(reference), b - a
    found = []
    for amount, at in places.items():
        # At its own strength the point is the output itself, bit for bit: the curve passes through the table's value.
        mixed = b if at == 1.0 else a + np.float32(at) * difference
        rates = rates_of(band_cells(at_level(mixed)), wanted)
        found.append(Point(amount, rates.oversuppressed, rates.residual))
    return tuple(found)


def mean_curve(evaluation: Evaluation, system: str) -> list[Point]:
    """The curve of a system over the items of the table; for `degraded`, that of the suppressor's limits.

    Curves are compared with one another, so all of them are over the items that have every curve.
    """
    among = comparable(evaluation, "osr")
    drawn = [name for name in evaluation.systems if any(item.systems[name].curve for item in among)]
    whole = [item for item in among if all(item.systems[name].curve for name in drawn)]
    curves = [{p.amount: p for p in item.systems[system].curve} for item in whole]
    amounts = [amount for amount in curves[0] if all(amount in curve for curve in curves)] if curves else []
    return [
        Point(
            amount,
            float(np.mean([curve[amount].osr for curve in curves])),
            float(np.mean([curve[amount].resid for curve in curves])),
        )
        for amount in amounts
    ]


def advantage(curve: Sequence[Point], limits: Sequence[Point]) -> dict[float, float]:
    """By strength, how much less over-suppression the system leaves than a limit with the same residual noise.

    The limits' curve is interpolated linearly between the measured limits and the curve's own start: at strength 0 it
    is the suppressor itself, which a limit above all measured ones does not change. If several leave the same residual
    noise, the best one counts. A strength whose residual noise lies outside this range has no value.
    """
    ordered = sorted((point.resid, point.osr) for point in (*limits, *(p for p in curve if p.amount == 0.0)))
    best: dict[float, float] = {}
    for noise, missing in ordered:
        best.setdefault(noise, missing)
    resid, osr = np.array([*best]), np.array([*best.values()])
    return {
        point.amount: float(np.interp(point.resid, resid, osr) - point.osr)
        for point in curve
        if resid[0] <= point.resid <= resid[-1]
    }
