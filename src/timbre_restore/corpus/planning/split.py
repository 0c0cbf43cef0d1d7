"""The side of the split that everything is on, and the order of the recordings.

Both are pure functions of the spec and of the names found. The split is decided on everything that was found, so a
small corpus and a large one agree about every speaker. The order is chosen so that any beginning of it is already a
corpus: it alternates between speakers, takes sources by weight, and contains both sides from the second recording on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Literal

from timbre_restore.corpus.planning.scan import Recording, SourceFile, matches_any
from timbre_restore.corpus.spec import CorpusSpec
from timbre_restore.errors import CorpusError

Split = Literal["train", "val"]
SPLITS: tuple[Split, Split] = ("train", "val")


def rank(seed: int, *names: object) -> int:
    """A number that orders names pseudo-randomly, the same on every machine."""
    text = "\0".join([str(seed), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(os.fsencode(text)).digest()[:8], "big")


def split_recordings(
    spec: CorpusSpec, recordings: Sequence[Recording], warnings: list[str]
) -> dict[Split, list[Recording]]:
    """Recordings by side: whole speakers, or single recordings where there is only one speaker."""
    unit = {recording: recording.speaker for recording in recordings}
    speakers = sorted(set(unit.values()))
    if spec.val_speakers is not None:
        named = spec.val_speakers
        _refuse_unknown("val_speakers", named, speakers, lambda pattern: matches_any(speakers, [pattern]))
        val = {speaker for speaker in speakers if matches_any([speaker], named)}
    else:
        if len(speakers) == 1 and len(recordings) > 1 and spec.val_fraction > 0:
            warnings.append(f"there is only one speaker ('{speakers[0]}'), so the split is by recording")
            unit = {recording: f"{recording.source}/{recording.relative}" for recording in recordings}
        val = _val_share(spec, "speaker", set(unit.values()))
    sides: dict[Split, list[Recording]] = {"train": [], "val": []}
    for recording in recordings:
        sides["val" if unit[recording] in val else "train"].append(recording)
    if not sides["train"]:
        raise CorpusError("data.val_speakers names every speaker, so none is left for training; name fewer.")
    if not sides["val"]:
        warnings.append("no speaker is held out for validation, so val.txt is empty")
    return sides


def split_sounds(
    spec: CorpusSpec,
    kind: str,
    sounds: Sequence[SourceFile],
    named: Sequence[str] | None,
    warnings: list[str],
    *,
    validated: bool = True,
) -> dict[Split, tuple[SourceFile, ...]]:
    """Noises or rooms by side, keeping channels of one measurement together.

    A side without any falls back to all of them; the validation side only if it has recordings.
    """
    if named is None:
        val = _val_share(spec, kind, {sound.group for sound in sounds})
    else:
        names = [sound.relative for sound in sounds]
        _refuse_unknown(f"val_{kind}s", named, names, lambda pattern: any(s.matches([pattern]) for s in sounds))
        val = {sound.group for sound in sounds if sound.matches(named)}
        apart = [sound.relative for sound in sounds if sound.group in val and not sound.matches(named)]
        if apart:
            warnings.append(f"{kind} {', '.join(apart)}: goes to validation with the rest of its group")
    sides: dict[Split, tuple[SourceFile, ...]] = {
        "train": tuple(sound for sound in sounds if sound.group not in val),
        "val": tuple(sound for sound in sounds if sound.group in val),
    }
    for split in SPLITS:
        if sounds and not sides[split] and (split == "train" or validated):
            warnings.append(f"no {kind} is left for '{split}', so both sides share all of them")
            sides[split] = tuple(sounds)
    return sides


def _val_share(spec: CorpusSpec, kind: str, names: set[str]) -> set[str]:
    """`val_fraction` of the names, at least one if there are two or more, and never all."""
    if len(names) < 2 or spec.val_fraction <= 0:
        return set()
    ordered = sorted(names, key=lambda name: (rank(spec.seed, "split", kind, name), name))
    return set(ordered[: min(max(1, round(spec.val_fraction * len(ordered))), len(ordered) - 1)])


def _refuse_unknown(key: str, patterns: Sequence[str], found: Sequence[str], fits: Callable[[str], bool]) -> None:
    """Raise for a pattern that matches nothing: a typo would leave in training what was meant to be held out."""
    for pattern in patterns if found else ():
        if not fits(pattern):
            raise CorpusError(
                f"data.{key}: '{pattern}' matches nothing that was found (found, for example: {', '.join(found[:5])})."
            )


def ordered_recordings(spec: CorpusSpec, sides: dict[Split, list[Recording]]) -> list[tuple[Recording, Split]]:
    """All recordings in the order in which a corpus grows; `--max_files N` takes the first N."""
    return _merge_sides(*(_order(spec, sides[split]) for split in SPLITS))


def _order(spec: CorpusSpec, recordings: Sequence[Recording]) -> list[Recording]:
    """One side's recordings: sources by weight, alternating speakers within a source, random order within a speaker."""
    queues = [
        _round_speakers(spec, [recording for recording in recordings if recording.source == index])
        for index in range(len(spec.sources))
    ]
    taken = [0] * len(queues)
    ordered: list[Recording] = []
    while len(ordered) < len(recordings):
        open_sources = [index for index, queue in enumerate(queues) if taken[index] < len(queue)]
        # The source furthest behind its share comes next.
        index = min(open_sources, key=lambda i: ((taken[i] + 1) / spec.sources[i].weight, i))
        ordered.append(queues[index][taken[index]])
        taken[index] += 1
    return ordered


def _round_speakers(spec: CorpusSpec, recordings: Sequence[Recording]) -> list[Recording]:
    by_speaker: dict[str, list[Recording]] = {}
    for recording in sorted(recordings, key=lambda r: (rank(spec.seed, "order", r.source, r.relative), r.relative)):
        by_speaker.setdefault(recording.speaker, []).append(recording)
    speakers = sorted(by_speaker, key=lambda name: (rank(spec.seed, "round", name), name))
    position = {name: index for index, name in enumerate(speakers)}
    rounds = [(turn, position[name], r) for name, own in by_speaker.items() for turn, r in enumerate(own)]
    return [recording for _, _, recording in sorted(rounds, key=lambda entry: entry[:2])]


def _merge_sides(train: Sequence[Recording], val: Sequence[Recording]) -> list[tuple[Recording, Split]]:
    """Interleave both sides in proportion to their sizes, with the first validation recording in second place."""
    merged: list[tuple[Recording, Split]] = []
    total, used = len(train) + len(val), 0
    for place in range(total):
        due = max(1 if place >= 1 else 0, round((place + 1) * len(val) / total))
        take_val = used < len(val) and ((place > 0 and used < due) or place - used >= len(train))
        merged.append((val[used], "val") if take_val else (train[place - used], "train"))
        used += take_val
    return merged
