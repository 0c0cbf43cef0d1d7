"""Student's t distribution: how far a mean of few values may lie from the truth."""

from __future__ import annotations

import math


def t_quantile(confidence: float, freedom: int) -> float:
    """The t that |T| stays below with probability `confidence`, by bisection."""
    low, high = 0.0, 1.0
    while t_within(high, freedom) < confidence:
        high *= 2.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if t_within(middle, freedom) < confidence else (low, middle)
    return 0.5 * (low + high)


def t_within(t: float, freedom: int) -> float:
    """P(|T| < t) for integer degrees of freedom ν, in closed form (Abramowitz and Stegun 26.7.3, 26.7.4).

    With θ = atan(t / √ν): for odd ν, 2/π · (θ + sin θ · (cos θ + 2/3 · cos³ θ + …)); for even ν,
    sin θ · (1 + 1/2 · cos² θ + 3/8 · cos⁴ θ + …); both series end at the power ν − 2.
    """
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (power + 1) / (power + 2)
    total *= math.sin(angle)
    return 2.0 / math.pi * (angle + total) if odd else total
