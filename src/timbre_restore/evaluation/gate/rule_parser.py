"""The small language of a gate: `osr > 0.5*degraded.osr`. A rule states what must not happen.

Python's parser reads it, since its grammar is well known; nothing is ever executed. The syntax tree is translated node
by node, and an unexpected node gives an error message: an untrusted rule can compare numbers, and nothing else.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
import warnings
from collections.abc import Iterable, Sequence

from timbre_restore.errors import ScoresError
from timbre_restore.evaluation.gate.rules import (
    BOUNDS,
    FUNCTIONS,
    OLD,
    OWN_KEYS,
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
    is_linear,
    refs,
    unit_of,
)
from timbre_restore.evaluation.results import DEGRADED
from timbre_restore.metrics import Metric

LONGEST_RULE = 400
MOST_NODES = 150
ALLOWED = f"numbers, names, + - * /, comparisons, and, or, not, and the functions {', '.join(FUNCTIONS)}"

_TYPED = {"−": "-", "–": "-", "·": "*", "×": "*", "÷": "/"}
_QUOTED_OR_TYPED = re.compile(r"""("[^"]*"|'[^']*')|[−–·×÷]""")
_COMPARISONS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def parse_rule(text: str, files: Files, name: str = "") -> Rule:
    """Parse `text` as a rule. Raises `ScoresError` with the word that is wrong and the closest valid one."""
    try:
        return Rule(text, name, _Parser(_QUOTED_OR_TYPED.sub(_plain, text), files).rule())
    except ScoresError as exc:
        raise ScoresError(f"rule {f'{name!r}, ' if name else ''}'{_start(text)}': {exc}") from exc


def _plain(found: re.Match[str]) -> str:
    """Replace typographic operators by Python's; leave quoted names as they are."""
    return found[0] if found[1] else _TYPED[found[0]]


def _start(text: str) -> str:
    return text if len(text) <= LONGEST_RULE // 2 else text[: LONGEST_RULE // 2] + "…"


class _Parser:
    """Translates Python's syntax tree to ours."""

    def __init__(self, text: str, files: Files) -> None:
        self._text = text
        self._files = files

    def rule(self) -> Truth:
        if len(self._text) > LONGEST_RULE:
            raise ScoresError(f"is longer than {LONGEST_RULE} characters; split it into several.")
        tree = self._tree()
        if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
            raise ScoresError(f"has more than {MOST_NODES} parts; split it into several.")
        found = self._truth(tree.body)
        if not any(refs(found)):
            raise ScoresError("names no value, so it says nothing about these scores.")
        return found

    def _tree(self) -> ast.Expression:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's remarks about style are not the writer's concern
                return ast.parse(self._text.strip(), mode="eval")
        except SyntaxError as exc:
            column = min(exc.offset - 1 if exc.offset else LONGEST_RULE, len(self._text.strip()))
            hint = "; write 1 % as 0.01" if "%" in self._text else ""
            shown = " ".join(self._text.strip().split("\n"))
            raise ScoresError(
                f"can't be parsed from the marked position on{hint}.\n  {shown}\n  {' ' * column}^"
            ) from exc
        except (ValueError, RecursionError, MemoryError) as exc:
            raise ScoresError("can't be parsed; expected a comparison such as 'osr > 0.3'.") from exc

    def _words(self, node: ast.expr) -> str:
        return ast.get_source_segment(self._text.strip(), node) or ast.unparse(node)

    def _truth(self, node: ast.expr) -> Truth:
        match node:
            case ast.BoolOp(op=operator, values=values):
                return Logic("and" if isinstance(operator, ast.And) else "or", tuple(map(self._truth, values)))
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return Logic("not", (self._truth(inner),))
            case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARISONS:
                sides = self._value(left), self._value(right)
                found = Comparison(_COMPARISONS[type(operator)], *sides, (self._words(left), self._words(right)))
                _check_scale(found, self._files)
                _check_open(found, self._files)
                return found
            case ast.Compare(ops=[_, _, *_]):
                raise ScoresError(f"'{self._words(node)}' compares twice; write 'a < b and b < c'.")
        raise ScoresError(f"'{self._words(node)}' is not a comparison; expected one such as 'osr > 0.3'.")

    def _value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return Number(self._finite(value))
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return Sum("*", Number(-1.0), self._value(inner))
            case ast.UnaryOp(op=ast.UAdd(), operand=inner):
                return self._value(inner)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
                return Sum(_ARITHMETIC[type(operator)], self._value(left), self._value(right))
            case ast.Name(id=key):
                return self._ref(False, self._files.judged, key, short=True)
            case ast.Attribute(value=owner, attr=key):
                return self._ref(*self._owner(owner), key)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments)
        raise ScoresError(f"'{self._words(node)}' is not allowed in a rule; expected {ALLOWED}.")

    def _finite(self, value: float) -> float:
        try:
            if math.isfinite(found := float(value)):
                return found
        except OverflowError:
            pass
        raise ScoresError("holds a number that is too large.")

    def _owner(self, node: ast.expr) -> tuple[bool, str]:
        """Whose value is named: `old`, `SYSTEM`, `old.SYSTEM`, or `system("a b")` if the name is not a word."""
        match node:
            case ast.Name(id=name) if name == OLD:
                if OLD in self._files.scores(False).systems:
                    raise ScoresError(
                        f"'{OLD}' is a system of {self._files.scores(False).place} and also the second file; "
                        f'write system("{OLD}").KEY for the system, and {OLD}.SYSTEM.KEY for the file.'
                    )
                return self._old(), self._files.judged
            case ast.Name(id=name):
                return self._system(False, name)
            case ast.Attribute(value=ast.Name(id=first), attr=name) if first == OLD:
                return self._system(self._old(), name)
            case ast.Call(func=ast.Name(id="system"), args=[ast.Constant(value=str() as name)], keywords=[]):
                return self._system(False, name)
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=first), attr="system"),
                args=[ast.Constant(value=str() as name)],
                keywords=[],
            ) if first == OLD:
                return self._system(self._old(), name)
        raise ScoresError(f"'{self._words(node)}' is not a system; expected SYSTEM.KEY, old.KEY or old.SYSTEM.KEY.")

    def _old(self) -> bool:
        if self._files.old is None:
            raise ScoresError("'old' refers to a second file, but only one was given; give OLD.json after NEW.json.")
        return True

    def _system(self, old: bool, name: str) -> tuple[bool, str]:
        scores = self._files.scores(old)
        if name not in scores.systems:
            raise ScoresError(f"'{name}' is not a system of {scores.place}; {nearest(name, scores.systems)}")
        return old, name

    def _ref(self, old: bool, system: str, key: str, *, short: bool = False) -> Ref:
        scores = self._files.scores(old)
        if system not in scores.systems:
            raise ScoresError(f"'{system}' is not a system of {scores.place}; {nearest(system, scores.systems)}")
        known = scores.keys(system)
        if key in known or key in OWN_KEYS:
            if key == WORSE and DEGRADED not in scores.systems:
                raise ScoresError(f"'{key}' compares with '{DEGRADED}', which {scores.place} does not hold.")
            return Ref(system, key, old)
        if short and (key in scores.systems or key == OLD):
            owner = f'system("{key}")' if key == OLD and OLD in scores.systems else key
            raise ScoresError(f"'{key}' is a system; name one of its values, such as {owner}.{(known or ['osr'])[0]}.")
        raise ScoresError(f"'{key}' is not a value of {system} in {scores.place}; {nearest(key, [*known, *OWN_KEYS])}")

    def _call(self, name: str, arguments: Sequence[ast.expr]) -> Call:
        if name not in FUNCTIONS:
            raise ScoresError(f"'{name}' is not a function; {nearest(name, FUNCTIONS)}")
        fewest, most = FUNCTIONS[name]
        if not fewest <= len(arguments) <= most:
            wanted = "one value" if most == 1 else f"{fewest} to {most} values"
            raise ScoresError(f"'{name}' takes {wanted}, got {len(arguments)}.")
        found = Call(name, tuple(map(self._value, arguments)))
        inner = found.arguments[0]
        if name in BOUNDS and not (is_linear(inner) and any(refs(inner))):
            raise ScoresError(
                f"'{name}' takes sums and differences of values, each multiplied by a number at most; "
                f"got '{self._words(arguments[0])}'."
            )
        if name == "missing" and not (isinstance(inner, Ref) and inner.key not in OWN_KEYS):
            raise ScoresError(f"'missing' takes the name of one metric, got '{self._words(arguments[0])}'.")
        return found


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown word."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(names) or 'nothing'}."


def _check_scale(found: Comparison, files: Files) -> None:
    """Refuse comparisons that can never be true, such as a rate above 1: a gate must be able to close."""
    for rate, limit, above in ((found.left, found.right, ">"), (found.right, found.left, "<")):
        missing = isinstance(rate, Call) and rate.name == "missing"
        metric = unit_of(rate, files)
        most = 1.0 if missing else metric.most if metric is not None and metric.unit == "%" else math.inf
        if not isinstance(limit, Number) or _is_scaled(rate):
            continue
        if abs(limit.value) > most or (limit.value == most and found.operator == above):
            name = next(refs(rate)).key
            raise ScoresError(
                f"{f'missing({name})' if missing else name} is a fraction from 0 to {most:g}; "
                f"write {limit.value / 100:g} for {limit.value:g} %, or compare with another value."
            )


def _check_open(found: Comparison, files: Files) -> None:
    """Refuse a comparison of rates whose outcome does not depend on the scores, such as 'osr > old.osr + 5'."""
    if not any(_rate_of(ref, files) for ref in refs(found)):
        return
    (least, most), (lowest, highest) = _range(found.left, files), _range(found.right, files)
    greater = {">": (least > highest, most <= lowest), ">=": (least >= highest, most < lowest)}
    less = {"<": (most < lowest, least >= highest), "<=": (most <= lowest, least > highest)}
    always, never = (greater | less).get(found.operator, (False, False))
    if always or never:
        raise ScoresError(
            f"'{found.words[0]} {found.operator} {found.words[1]}' is {'always' if always else 'never'} true: "
            "rates are fractions from 0 to 1 (5 % or 5 points are 0.05)."
        )


def _rate_of(ref: Ref, files: Files) -> Metric | None:
    metric = unit_of(ref, files)
    return metric if metric is not None and metric.unit == "%" else None


def _range(node: Value, files: Files) -> tuple[float, float]:
    """Between what a value lies whatever the scores are."""
    match node:
        case Number(value=value):
            return value, value
        case Ref() if rate := _rate_of(node, files):
            return 0.0, rate.most
        case Sum(operator=operator, left=left, right=right):
            return _combined(operator, _range(left, files), _range(right, files))
        case Call(name="missing"):
            return 0.0, 1.0
        case Call(name="abs", arguments=(inner,)):
            least, most = _range(inner, files)
            return (0.0 if least <= 0.0 <= most else min(abs(least), abs(most))), max(abs(least), abs(most))
        case Call(name="min" | "max" as name, arguments=parts):
            chosen = min if name == "min" else max
            ranges = [_range(part, files) for part in parts]
            return chosen(least for least, _ in ranges), chosen(most for _, most in ranges)
    return -math.inf, math.inf


def _combined(operator: str, one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The range of a sum, difference, product or quotient of two ranges (interval arithmetic)."""
    if operator == "-":
        other = -other[1], -other[0]
    if operator in "+-":
        return one[0] + other[0], one[1] + other[1]
    if operator == "/":
        if other[0] <= 0.0 <= other[1]:
            return -math.inf, math.inf
        other = 1.0 / other[1], 1.0 / other[0]
    found = [a * b for a in one for b in other]
    return (-math.inf, math.inf) if any(map(math.isnan, found)) else (min(found), max(found))


def _is_scaled(node: Value) -> bool:
    match node:
        case Sum(operator="*" | "/"):
            return True
        case Sum(left=left, right=right):
            return _is_scaled(left) or _is_scaled(right)
        case Call(arguments=parts):
            return any(map(_is_scaled, parts))
    return False
