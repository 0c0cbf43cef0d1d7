"""The tables of the model card, made from the output of `evaluate --json`.

    python benchmarks/card.py SCORES.json [SYSTEM]

Prints Markdown: means of every system; SYSTEM's differences to the suppressor with their intervals; its curve compared
with that of the attenuation limits; breakdowns; and the items that it changes most for the worse and for the better. By
default SYSTEM is the first restorer in the scores.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from timbre_restore.evaluation import Point, advantage

KEYS = ("osr", "osr_hf", "resid", "resid_hf", "lsd", "sisdr", "pesq", "estoi", "speaker", "wer")
NAMES = ("OSR", "OSR 8–20 kHz", "residual", "residual 8–20 kHz", "LSD, dB", "SI-SDR, dB", "PESQ-WB", "ESTOI",
         "speaker", "WER")  # fmt: skip
SHARES = {"osr", "osr_hf", "resid", "resid_hf", "wer"}
PLACES = {"lsd": 2, "sisdr": 1, "pesq": 3, "estoi": 3, "speaker": 3}
SHOWN_ITEMS = 10


def number(key: str, value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "n/a"
    plus, share = "+" if sign else "", key in SHARES
    text = f"{100 * value:{plus}.1f}" if share else f"{value:{plus}.{PLACES[key]}f}"
    return text.replace("-", "−") + (" %" if share and not sign else "")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def means(scores: Mapping[str, Any], keys: Sequence[str]) -> str:
    rows = []
    for name, system in scores["systems"].items():
        worse = scores["worse"].get(name)
        count = f"{len(worse['stems'])} of {worse['judged']}" if worse else ""
        rows.append([name, *(number(key, system["mean"].get(key)) for key in keys), count])
    return table(["", *(NAMES[KEYS.index(key)] for key in keys), "worse"], rows)


def differences(scores: Mapping[str, Any], system: str, keys: Sequence[str]) -> str:
    found = scores["difference"][system]

    def cell(key: str) -> str:
        value = found.get(key)
        if value is None:
            return "n/a"
        low, high = (number(key, value[end], sign=True) for end in ("low", "high"))
        return f"{number(key, value['mean'], sign=True)} ({low} … {high})"

    return table([NAMES[KEYS.index(key)] for key in keys], [[cell(key) for key in keys]])


def curve(scores: Mapping[str, Any], system: str) -> str:
    """The curve by strength, and how many points more a limit with the same residual noise leaves."""
    own, limits = ([Point(**point) for point in scores["curve"][name]] for name in (system, "degraded"))
    less = advantage(own, limits)
    rows = []
    for point in own:
        gain = number("osr", less[point.amount], sign=True) if point.amount in less else ""
        rows.append([f"{point.amount:g}", number("osr", point.osr), number("resid", point.resid), gain])
    return table(["strength", "OSR", "residual", "a limit's OSR at that residual, more by, points"], rows)


def breakdowns(scores: Mapping[str, Any]) -> str:
    text = ""
    for name, groups in scores["breakdown"].items():
        keys = ("osr", "resid", "pesq")
        rows = [
            [group["name"], str(group["items"])]
            + [f"{number(k, group['before'].get(k))} → {number(k, group['after'].get(k))}" for k in keys]
            for group in groups
        ]
        text += table([name, "items", *(NAMES[KEYS.index(key)] for key in keys)], rows) + "\n"
    return text


def extremes(scores: Mapping[str, Any], system: str) -> str:
    """First the items whose PESQ falls most, then those whose over-suppression falls most."""
    before, after = (scores["systems"][name]["items"] for name in ("degraded", system))

    def change(stem: str, key: str) -> float:
        values = after[stem].get(key), before[stem].get(key)
        return 0.0 if None in values else values[0] - values[1]

    def rows(key: str) -> list[list[str]]:
        chosen = sorted(after, key=lambda stem: change(stem, key))[:SHOWN_ITEMS]
        facts = scores["facts"]
        return [
            [stem, *(str(facts.get(stem, {}).get(fact, "")) for fact in ("noise", "room"))]
            + [f"{number(k, before[stem].get(k))} → {number(k, after[stem].get(k))}" for k in ("osr", "resid", "pesq")]
            for stem in chosen
        ]

    columns = ["item", "noise", "room", "OSR", "residual", "PESQ-WB"]
    return f"{table(columns, rows('pesq'))}\n{table(columns, rows('osr'))}"


def main(arguments: Sequence[str]) -> None:
    scores = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    systems = list(scores["curve"])
    system = arguments[1] if len(arguments) > 1 else next(name for name in systems if name != "degraded")
    keys = [key for key in KEYS if key in scores["systems"][system]["mean"]]
    print(means(scores, keys))
    print(differences(scores, system, keys))
    print(curve(scores, system))
    print(breakdowns(scores))
    print(extremes(scores, system))


if __name__ == "__main__":
    main(sys.argv[1:])
