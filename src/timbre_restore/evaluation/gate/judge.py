"""Rules over scores: which hold, by how much, and how certain that is.

A rule is judged over the items that every system it names has scored (in both files if it names both), restricted to
those with every value that it names; otherwise a system would be judged on items that the other never saw. The items
left out are counted and reported. A value that does not exist closes the gate: a metric that could not be computed
proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from timbre_restore.evaluation.gate.margins import Margin, Numbers, margin_of, wilson_interval
from timbre_restore.evaluation.gate.rules import (
    BOUNDS,
    ITEMS,
    WORSE,
    Call,
    Comparison,
    Files,
    Logic,
    Number,
    Ref,
    Rule,
    Sum,
    Truth,
    Value,
    calls,
    is_linear,
    refs,
    unit_of,
)
from timbre_restore.evaluation.gate.scores import Scores
from timbre_restore.evaluation.results import DEGRADED
from timbre_restore.evaluation.summary import WORSE_OSR, WORSE_PESQ
from timbre_restore.metrics import Metric


class NotAvailableError(Exception):
    """A value that does not exist; the message is the reason that a verdict shows."""


@dataclass(frozen=True)
class Side:
    """One comparison of a rule with the values of both sides. `margin` is None if it has no interval."""

    words: tuple[str, str]
    operator: str
    values: tuple[float, float]
    metric: Metric | None
    margin: Margin | None
    bounded: bool
    """Whether it compares a bound, so that the value already includes the interval."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a rule. `reason` says why it could not be judged; it then fails."""

    rule: Rule
    holds: bool
    sides: tuple[Side, ...]
    items: int
    remarks: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class Change:
    """One metric of two systems over common items; values are None if no item has both."""

    key: str
    metric: Metric | None
    before: float | None
    after: float | None
    margin: Margin | None
    left_out: int
    items: int = 0
    difference: float | None = None
    """The mean of paired differences, if there are any; `margin` holds it too, with an interval."""


def judge(rule: Rule, files: Files) -> Verdict:
    """Judge a rule: it holds if the condition that must not occur is false."""
    ground = _Ground(rule.truth, files)
    try:
        sides: list[Side] = []
        true = ground.truth(rule.truth, sides)
    except NotAvailableError as exc:
        return Verdict(rule, False, (), 0, ground.remarks, str(exc))
    return Verdict(rule, not true, tuple(sides), ground.count, ground.remarks)


def compare(new: Scores, system: str, old: Scores, against: str) -> list[Change]:
    """Metric by metric, `system` in `new` minus `against` in `old`, paired by item."""
    after, before = new.systems[system], old.systems[against]
    common = [stem for stem in after if stem in before]
    keys = [key for key in new.keys(system) if key in set(old.keys(against))]
    return [_change(key, new, {stem: (before[stem].get(key), after[stem].get(key)) for stem in common}) for key in keys]


def _change(key: str, new: Scores, values: Mapping[str, tuple[float | None, float | None]]) -> Change:
    metric = new.metric(key)
    both = {stem: (a, b) for stem, (a, b) in values.items() if a is not None and b is not None and math.isfinite(a + b)}
    if not both:
        return Change(key, metric, None, None, None, len(values))
    pairs = np.array(list(both.values()))
    before, after = pairs.mean(axis=0)
    nearer = np.abs(pairs) if metric is not None and metric.better == "zero" else pairs
    changes = nearer[:, 1] - nearer[:, 0]
    margin, mean = margin_of(changes, new.voices(list(both))), float(changes.mean())
    return Change(key, metric, float(before), float(after), margin, len(values) - len(both), len(both), mean)


class _Ground:
    """The items that a rule is judged over, and its values there."""

    def __init__(self, truth: Truth, files: Files) -> None:
        self._files = files
        self._refs = list(dict.fromkeys(refs(truth)))

    @cached_property
    def _owners(self) -> dict[tuple[bool, str], Mapping[str, Mapping[str, float | None]]]:
        """Every system involved, including `degraded` if the rule uses 'worse'."""
        named = [(ref.old, ref.system) for ref in self._refs]
        named += [(ref.old, DEGRADED) for ref in self._refs if ref.key == WORSE]
        return {(old, name): self._files.scores(old).systems[name] for old, name in dict.fromkeys(named)}

    @cached_property
    def _common(self) -> list[str]:
        first, *others = self._owners.values()
        return [stem for stem in first if all(stem in other for other in others)]

    def _stems(self, worse: bool) -> list[str]:
        """Common items with every metric that is named; for 'worse', only those that 'worse' itself needs.

        An item without PESQ must not escape 'worse', which can judge it by its over-suppression.
        """
        wanted = [ref for ref in self._refs if (ref.key == WORSE) == worse and ref.key != ITEMS]
        return [stem for stem in self._common if all(self._at(ref, stem) is not None for ref in wanted)]

    @cached_property
    def _by_metric(self) -> list[str]:
        return self._stems(worse=False)

    @cached_property
    def _by_worse(self) -> list[str]:
        return self._stems(worse=True)

    def _at(self, ref: Ref, stem: str) -> float | None:
        if ref.key != WORSE:
            return self._owners[ref.old, ref.system][stem].get(ref.key)
        after, before = (self._owners[ref.old, name][stem] for name in (ref.system, DEGRADED))
        changes = [
            (sign * (b - a), limit)
            for key, sign, limit in (("pesq", -1, WORSE_PESQ), ("osr", 1, WORSE_OSR))
            if (a := before.get(key)) is not None and (b := after.get(key)) is not None
        ]
        if any(math.isnan(change) for change, _ in changes):
            return math.nan  # not the same as 'not worse'
        return float(any(change > limit for change, limit in changes)) if changes else None

    @property
    def count(self) -> int:
        """Items that the rule was judged over."""
        kinds = {ref.key == WORSE for ref in self._refs if ref.key != ITEMS}
        return len(self._by_worse if kinds == {True} else self._by_metric)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was left out, and why."""
        everywhere = set().union(*self._owners.values()) if self._owners else set()
        found = []
        if self._owners and (gone := len(everywhere) - len(self._common)):
            found.append(f"{gone} of {len(everywhere)} items left out: not in every system or file that is named")
        for ref in self._refs:
            absent = sum(self._at(ref, stem) is None for stem in self._common) if ref.key != ITEMS else 0
            if absent:
                found.append(f"{ref} is n/a for {absent} of {len(self._common)} items")
        return tuple(found)

    def truth(self, node: Truth, sides: list[Side]) -> bool:
        """Evaluate every part, even if the first one decides: an n/a behind an 'or' must not go unnoticed."""
        match node:
            case Logic(operator=operator, parts=parts):
                found = [self.truth(part, sides) for part in parts]
                return not found[0] if operator == "not" else (all if operator == "and" else any)(found)
            case Comparison():
                sides.append(side := self._side(node))
                return _holds(side.operator, *side.values)

    def _side(self, node: Comparison) -> Side:
        left, right = self._number(node.left), self._number(node.right)
        metrics = [unit_of(part, self._files) for part in (node.left, node.right) if any(refs(part))]
        metric = metrics[0] if metrics and all(m == metrics[0] for m in metrics) else None
        difference = Sum("-", node.left, node.right)
        bounded = any(name in BOUNDS for name in calls(difference))
        margin = self._margin(difference) if self._has_series(difference) else None
        return Side(node.words, node.operator, (left, right), metric, margin, bounded)

    def _has_series(self, node: Value) -> bool:
        return is_linear(node) and len({ref.key == WORSE for ref in refs(node)}) == 1

    def _number(self, node: Value) -> float:
        value = self._plain(node)
        if not math.isfinite(value):
            raise NotAvailableError("the result is not a finite number")
        return value

    def _plain(self, node: Value) -> float:
        match node:
            case Number(value=value):
                return value
            case Ref():
                return float(len(self._owners[node.old, node.system])) if node.key == ITEMS else self._mean(node)
            case Call(name="missing", arguments=(Ref() as ref, *_)):
                return self._missing(ref)
            case Call(name=name, arguments=(inner, *_)) if name in BOUNDS:
                return self._bound(name, inner)
            case Call(name=name, arguments=parts):
                values = [self._number(part) for part in parts]
                return abs(values[0]) if name == "abs" else (min if name == "min" else max)(values)
            case Sum(operator=operator, left=left, right=right):
                return _calculate(operator, self._number(left), self._number(right))

    def _mean(self, ref: Ref) -> float:
        return float(np.mean(self._values(ref)))

    def _missing(self, ref: Ref) -> float:
        if not self._common:
            raise NotAvailableError(self._nothing())
        return sum(self._at(ref, stem) is None for stem in self._common) / len(self._common)

    def _bound(self, name: str, inner: Value) -> float:
        if not self._has_series(inner):
            raise NotAvailableError("there is no interval over 'worse' and a metric together")
        margin = self._margin(inner)
        if margin is None:
            raise NotAvailableError(f"there are too few items or speakers for an interval, so '{name}' has no value")
        return margin.low if name == "low" else margin.high

    def _margin(self, node: Value) -> Margin | None:
        """By speaker; for a single share also Wilson's: none of 40 items worse does not prove that none ever is."""
        changes, named = self._series(node), list(refs(node))
        worse = any(ref.key == WORSE for ref in named)
        margin = margin_of(changes, self._files.scores(False).voices(self._by_worse if worse else self._by_metric))
        if margin is None or len(set(named)) > 1 or not worse:
            return margin
        # However it is written, the expression equals offset + slope · share.
        offset, reached = (float(self._series(node, np.full(1, share))[0]) for share in (0.0, 1.0))
        ends = [offset + (reached - offset) * share for share in wilson_interval(self._values(named[0]))]
        ends += [margin.low, margin.high]
        return Margin(float(changes.mean()), min(ends), max(ends), len(changes))

    def _series(self, node: Value, instead: Numbers | None = None) -> Numbers:
        """A linear expression item by item `[N]`; `instead`, if given, replaces the values from the file."""
        match node:
            case Ref():
                return self._values(node) if instead is None else instead
            case Sum(operator=operator, left=left, right=right):
                sides = [
                    self._series(part, instead) if any(refs(part)) else self._number(part) for part in (left, right)
                ]
                return np.asarray(_calculate(operator, sides[0], sides[1]))  # type: ignore[arg-type]
        return np.full(self.count, self._number(node))

    def _values(self, ref: Ref) -> Numbers:
        stems = self._by_worse if ref.key == WORSE else self._by_metric
        if not stems:
            raise NotAvailableError(self._nothing())
        values = np.array([self._at(ref, stem) for stem in stems], dtype=np.float64)
        if not np.isfinite(values).all():
            broken = int(np.flatnonzero(~np.isfinite(values))[0])
            raise NotAvailableError(f"{ref} is {values[broken]:g} for the item '{stems[broken]}'")
        return values

    def _nothing(self) -> str:
        """Why there is no item to judge."""
        if not self._common:
            names = [f"{'old.' if old else ''}{name}" for old, name in self._owners]
            return f"{' and '.join(names)} {'have no item in common' if len(names) > 1 else 'has no item'}"
        for ref in self._refs:
            if ref.key != ITEMS and all(self._at(ref, stem) is None for stem in self._common):
                return f"{ref} is n/a for every item"
        return "no item has every value that the rule names"


def _calculate(operator: str, left: float, right: float) -> float:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    if not np.all(right):
        raise NotAvailableError("it divides by zero")
    return left / right


def _holds(operator: str, left: float, right: float) -> bool:
    answers = {
        ">": left > right, ">=": left >= right, "<": left < right,
        "<=": left <= right, "==": left == right, "!=": left != right,
    }  # fmt: skip
    return answers[operator]
