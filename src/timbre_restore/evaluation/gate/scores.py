"""Reads what `evaluate --json` wrote, typically in a CI build, from a file that is not trusted.

Everything is validated first: a file that is too large, truncated, nested too deeply or structured differently gives an
error message. Everything except `systems` is optional, so a report from another tool needs no more than that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from timbre_restore.audio import printable
from timbre_restore.errors import ScoresError
from timbre_restore.evaluation.summary import SPEAKER
from timbre_restore.metrics import SETS, Metric

LARGEST_BYTES = 256 * 2**20
SHOWN_CHARACTERS = 60
REMEDY = "expected what 'timbre-restore evaluate --json' writes"

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Scores:
    """The scores of one file: system → item → key → value, None for n/a; `described` holds its own metrics' facts."""

    place: str
    systems: Mapping[str, Mapping[str, Values]]
    described: Mapping[str, Metric]
    speakers: Mapping[str, str]
    """The speaker of each item, as far as the file says."""

    def voices(self, stems: Sequence[str]) -> list[str] | None:
        """The speakers of these items; None if they are not all known."""
        known = [self.speakers[stem] for stem in stems if stem in self.speakers]
        return known if len(known) == len(stems) else None

    def keys(self, system: str) -> list[str]:
        """Every metric of a system, in the order of the file."""
        return list(dict.fromkeys(key for values in self.systems[system].values() for key in values))

    def metric(self, key: str) -> Metric | None:
        """A metric's name, unit and direction; None if it is not described anywhere."""
        return _KNOWN.get(key) or self.described.get(key)


_KNOWN = {metric.key: metric for metric in SETS["all"]}


def read_scores(path: Path) -> Scores:
    """Read the scores of a file. Raises a `ScoresError` that says what the file holds instead."""
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise ScoresError(f"{path}: has {size / 2**20:.0f} MB, more than any report of scores; {REMEDY}.")
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ScoresError(f"{path}: can't be read ({exc.strerror or exc}); {REMEDY}.") from exc
    except UnicodeDecodeError as exc:
        raise ScoresError(f"{path}: is not UTF-8 text; {REMEDY}.") from exc
    try:
        # Numbers of any length become floats; 'NaN' stays NaN, so that a rule over it fails and says so.
        content = json.loads(text, object_pairs_hook=_without_twins, parse_int=float)
    except RecursionError as exc:
        raise ScoresError(f"{path}: is nested too deeply; {REMEDY}.") from exc
    except ValueError as exc:
        raise ScoresError(f"{path}: is not valid JSON ({exc}); {REMEDY}.") from exc
    return _scores(printable(str(path)), content)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without duplicate names, of which the last would silently win."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name '{_short(twin)}' occurs twice in one object")
    return content


def _scores(place: str, content: Any) -> Scores:
    systems = content.get("systems") if isinstance(content, dict) else None
    if not isinstance(systems, dict) or not systems:
        raise ScoresError(f"{place}: holds no 'systems'; {REMEDY}.")
    read = {name: _items(place, name, system) for name, system in systems.items()}
    described = content.get("metrics")
    found = described if isinstance(described, dict) else {}
    metrics = {key: _metric(key, entry) for key, entry in found.items() if isinstance(entry, dict)}
    return Scores(place, read, metrics, _speakers(content.get("facts")))


def _speakers(facts: Any) -> dict[str, str]:
    told = facts.items() if isinstance(facts, dict) else ()
    return {stem: str(known[SPEAKER]) for stem, known in told if isinstance(known, dict) and SPEAKER in known}


def _items(place: str, name: str, system: Any) -> dict[str, Values]:
    items = system.get("items") if isinstance(system, dict) else None
    where = f"{place}: systems → {_short(name)}"
    if not isinstance(items, dict):
        raise ScoresError(f"{where}: holds no 'items' with the scores of each; {REMEDY}.")
    for stem, values in items.items():
        if not isinstance(values, dict):
            raise ScoresError(f"{where} → {_short(stem)}: expected values by metric, got {_kind(values)}.")
        for key, value in values.items():
            if value is not None and not isinstance(value, float):
                raise ScoresError(
                    f"{where} → {_short(stem)} → {_short(key)}: expected a number or null, got {_kind(value)}."
                )
    return cast(dict[str, Values], items)


def _metric(key: str, entry: Mapping[str, Any]) -> Metric:
    """A metric unknown to this version, as the file describes it."""
    told = entry.get("better")
    better: Literal["higher", "lower", "zero"] = told if told in ("lower", "zero") else "higher"
    name, unit, rate = (entry.get(field) for field in ("name", "unit", "rate_hz"))
    heard_hz = int(rate) if isinstance(rate, float) and math.isfinite(rate) and rate > 0 else 48_000
    return Metric(
        key, name if isinstance(name, str) else key, unit if isinstance(unit, str) else "", better, heard_hz, _no_sound
    )


def _no_sound(estimate: Any, reference: Any) -> float:
    raise NotImplementedError("a metric that a file describes can't be computed here")


def _short(text: str) -> str:
    plain = "".join(character if character.isprintable() else "?" for character in text)
    return plain if len(plain) <= SHOWN_CHARACTERS else plain[:SHOWN_CHARACTERS] + "…"


def _kind(value: Any) -> str:
    names = {bool: "true or false", str: "a text", list: "a list", dict: "an object", float: "a number"}
    return names.get(type(value), "null")
