"""Checks of the split: what validation must not share with training, and what is in the corpus twice.

A speaker, recording or stretch of audio on both sides turns validation into a memory test and makes the corpus NOT
READY. So does a list that disagrees with `items.tsv`, because then nothing about the split can be trusted. The plan's
own fallback is no leak: with only one speaker, the split is by recording, which `prepare` warns about. Noises and rooms
on both sides make validation optimistic but not worthless (the plan does it if there is only one), and copies within a
side only shift its weights, so these are warnings. Synthetic noises belong to one take each and are never shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audit.integrity import SILENT_DBFS
from timbre_restore.audit.item import KEYS
from timbre_restore.audit.listing import Corpus, first_difference
from timbre_restore.audit.report import Report, of, some
from timbre_restore.corpus.planning.split import SPLITS

MADE = "made:"
EQUAL_KEYS = 3
"""Items with this many keys in common are copies; by chance, two items share one in ten million."""


def check_lists(corpus: Corpus, report: Report) -> None:
    """Check that there is something to train on, and that lists and rows agree."""
    if not corpus.items["train"]:
        report.broken("lists", "train.txt lists nothing")
    if not corpus.items["val"]:
        report.warn("lists", "val.txt lists nothing, so no validation is possible")
    if corpus.rows is None:
        report.warn("lists", "there is no items.tsv, so speakers, noises and draws are not checked")
    difference = first_difference(corpus)
    if difference is not None:
        report.broken("lists", f"{difference[0]}.txt and items.tsv don't agree (first at line {difference[1]})")
    listed = [(str(pair.degraded), str(pair.clean)) for pair in corpus.pairs]
    twice = len(listed) - len(set(listed))
    if twice:
        report.warn("lists", f"{twice} lines occur in the lists more than once", twice)


def check_leaks(corpus: Corpus, report: Report) -> None:
    """Find speakers, recordings, noises and rooms on both sides."""
    if corpus.rows is None:
        return
    rows = corpus.rows
    sides = rows.text("split")
    recordings = [f"{s}/{r}" if r else "" for s, r in zip(rows.text("source"), rows.text("recording"), strict=True)]
    speakers = _by_side(sides, rows.text("speaker"))
    for name, found in (("speakers", speakers), ("recordings", _by_side(sides, recordings))):
        both = sorted(found["train"] & found["val"])
        report.fact(
            "split",
            name,
            ", ".join(f"{len(found[split])} {split}" for split in SPLITS),
            {split: len(found[split]) for split in SPLITS},
        )
        if not both:
            continue
        text = f"{len(both)} {name} are in train and in val: {some(both)}"
        if name == "speakers" and len(found["train"] | found["val"]) == 1:
            report.warn("leak", f"{text}; it is the only one, so the split is by recording", len(both))
        else:
            report.broken("leak", text, len(both))
    for name, columns in (("noises", ("noise", "noise_2")), ("rooms", ("room",))):
        found = {split: set[str]() for split in SPLITS}
        for column in columns:
            for split, names in _by_side(sides, rows.text(column)).items():
                found[split] |= {word for word in names if not word.startswith(MADE)}
        both = sorted(found["train"] & found["val"])
        report.fact(
            "split",
            name,
            ", ".join(f"{len(found[split])} {split}" for split in SPLITS),
            {split: len(found[split]) for split in SPLITS},
        )
        if both:
            report.warn("shared", f"{len(both)} {name} are in train and in val, e.g. {some(both)}", len(both))


def check_copies(corpus: Corpus, facts: NDArray[Any], report: Report) -> None:
    """Find clean audio that occurs twice, bit by bit or at another level, across the split and within a side.

    Silent items are all equal and are left out. Several passes over one recording are intended and are no copies.
    """
    usable = np.flatnonzero(facts["whole"] & (facts["level"][:, 1] >= SILENT_DBFS))
    pairs = copies(facts[usable])
    columns = (corpus.column(name) for name in ("source", "recording", "index"))
    recordings = ["\0".join(words) for words in zip(*columns, strict=True)]
    across, within = [], 0
    for one, other in ((int(usable[a]), int(usable[b])) for a, b in pairs):
        if corpus.split_of(one) != corpus.split_of(other):
            across.append(f"{corpus.pairs[one].clean} and {corpus.pairs[other].clean}")
        elif recordings[one] == "\0\0" or recordings[one] != recordings[other]:
            within += 1
    if across:
        text = f"{len(across)} items hold the same clean audio in train and in val: {across[0]}"
        report.broken("copies", text, len(across))
    if within:
        report.warn("copies", f"{of(within, len(facts), 'items')} repeat the clean audio of another one", within)
    report.fact(
        "split", "copies", f"{len(across)} across, {within} within a side", {"across": len(across), "within": within}
    )


def copies(facts: NDArray[Any]) -> list[tuple[int, int]]:
    """Pairs of rows with the same audio: each row with its next copy, not every pair of a large group."""
    votes: dict[tuple[int, int], int] = {}
    exact = facts["digest"][:, 0] ^ facts["digest"][:, 1]
    found = dict.fromkeys(_neighbours(exact, np.arange(len(facts))))
    for number in range(KEYS):
        key = facts["keys"][:, number]
        known = np.flatnonzero(key >= 0)
        for pair in _neighbours(key[known], known):
            votes[pair] = votes.get(pair, 0) + 1
    return sorted(found | {pair: None for pair, count in votes.items() if count >= EQUAL_KEYS})


def _neighbours(keys: NDArray[Any], rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs of rows with equal keys that are adjacent when sorted by key (ties by row)."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    return [(int(rows[order[i]]), int(rows[order[i + 1]])) for i in same]


def _by_side(sides: Sequence[str], names: Sequence[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {split: set() for split in SPLITS}
    for side, name in zip(sides, names, strict=True):
        if name and side in found:
            found[side].add(name)
    return found
