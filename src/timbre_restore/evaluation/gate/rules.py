"""What a rule of a gate consists of, and what can be known about it before there are numbers. See `parse_rule`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from timbre_restore.evaluation.gate.scores import Scores
from timbre_restore.metrics import Metric

OLD, WORSE, ITEMS = "old", "worse", "items"
OWN_KEYS = (WORSE, ITEMS)
"""Names that are not metrics: the share of items that got worse, and the number of items."""
BOUNDS = ("low", "high")
FUNCTIONS = {"low": (1, 1), "high": (1, 1), "missing": (1, 1), "abs": (1, 1), "min": (2, 9), "max": (2, 9)}
"""Name → fewest and most arguments."""
_SHARE = Metric(WORSE, "items that got worse", "%", "lower", 48_000, lambda estimate, reference: math.nan)


@dataclass(frozen=True)
class Number:
    """A number as it was written."""

    value: float


@dataclass(frozen=True)
class Ref:
    """The values of one metric of one system, in the new file or in the old one."""

    system: str
    key: str
    old: bool

    def __str__(self) -> str:
        return f"{'old.' if self.old else ''}{self.system}.{self.key}"


@dataclass(frozen=True)
class Sum:
    """Two sides of + - * /."""

    operator: str
    left: Value
    right: Value


@dataclass(frozen=True)
class Call:
    """A function of `FUNCTIONS`."""

    name: str
    arguments: tuple[Value, ...]


Value = Number | Ref | Sum | Call


@dataclass(frozen=True)
class Comparison:
    """Two values, and the source text of each."""

    operator: str
    left: Value
    right: Value
    words: tuple[str, str]


@dataclass(frozen=True)
class Logic:
    """`and`, `or` of several, `not` of one."""

    operator: Literal["and", "or", "not"]
    parts: tuple[Truth, ...]


Truth = Comparison | Logic


@dataclass(frozen=True)
class Rule:
    """A condition under which the gate closes."""

    text: str
    name: str
    truth: Truth


@dataclass(frozen=True)
class Files:
    """What a rule may refer to: the new scores, optionally old ones, and the system that is judged."""

    new: Scores
    old: Scores | None
    judged: str

    def scores(self, old: bool) -> Scores:
        """The file that is meant; only a parsed rule may ask for the old one."""
        if old and self.old is None:
            raise ValueError("there is no old file")
        return self.old if old and self.old is not None else self.new


def refs(node: Value | Truth) -> Iterator[Ref]:
    """Every value that a tree names, in order."""
    match node:
        case Ref():
            yield node
        case Sum(left=left, right=right) | Comparison(left=left, right=right):
            yield from refs(left)
            yield from refs(right)
        case Call(arguments=parts):
            for part in parts:
                yield from refs(part)
        case Logic(parts=truths):
            for truth in truths:
                yield from refs(truth)


def calls(node: Value) -> Iterator[str]:
    """Every function that a value uses."""
    match node:
        case Sum(left=left, right=right):
            yield from calls(left)
            yield from calls(right)
        case Call(name=name, arguments=parts):
            yield name
            for part in parts:
                yield from calls(part)


def is_linear(node: Value) -> bool:
    """Whether its mean equals the same expression of the means; only then do its items give an interval."""
    match node:
        case Ref(key=key):
            return key != ITEMS
        case Sum(operator="+" | "-", left=left, right=right):
            return is_linear(left) and is_linear(right)
        case Sum(operator="*", left=left, right=right):
            return (is_fixed(left) and is_linear(right)) or (is_fixed(right) and is_linear(left))
        case Sum(operator="/", left=left, right=right):
            return is_fixed(right) and is_linear(left)
        case Number():
            return True
    return False


def unit_of(node: Value, files: Files) -> Metric | None:
    """The metric that a value is in units of; None for plain numbers, ratios, and sums of different metrics."""
    found = {ref for ref in refs(node) if ref.key != ITEMS}
    if not found or not _keeps_unit(node) or len(found) < len(set(refs(node))):
        return None
    metrics = {_SHARE if ref.key == WORSE else files.scores(ref.old).metric(ref.key) for ref in found}
    return metrics.pop() if len(metrics) == 1 else None


def _keeps_unit(node: Value) -> bool:
    match node:
        case Sum(operator="*", left=left, right=right):
            return (is_fixed(left) or is_fixed(right)) and _keeps_unit(left) and _keeps_unit(right)
        case Sum(operator="/", left=left, right=right):
            return is_fixed(right) and _keeps_unit(left)
        case Sum(left=left, right=right):
            return _keeps_unit(left) and _keeps_unit(right)
        case Call(name=name, arguments=parts):
            return name != "missing" and all(map(_keeps_unit, parts))
    return True


def is_fixed(node: Value) -> bool:
    """Whether it does not depend on the scores."""
    return not any(refs(node))
