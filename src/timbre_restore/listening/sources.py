"""The sounds of a test: folders of equally named files. Files that can't be compared are reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from timbre_restore.audio import AUDIO_SUFFIXES, is_text, read_channel, read_info, sounds_in
from timbre_restore.errors import AudioFileError, ListeningError
from timbre_restore.listening.plan import REFERENCE, RESERVED
from timbre_restore.metrics import is_silent

SHOWN = 10
LONGEST_NAME = 40


def check_systems(pairs: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """Systems by name. Raises `ListeningError` for names that are taken, reserved or can't be displayed."""
    if not pairs:
        raise ListeningError("no system was given; expected at least one NAME=DIR.")
    found: dict[str, Path] = {}
    for name, folder in pairs:
        if name in found:
            raise ListeningError(f"two systems are called {name!r} ({found[name]}, {folder}); give each its own name.")
        if name.casefold() in RESERVED:
            raise ListeningError(f"the name {name!r} is reserved; use any other than {', '.join(RESERVED)}.")
        if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            raise ListeningError(
                f"{name!r} can't be a system's name; expected 1 to {LONGEST_NAME} printable characters."
            )
        found[name] = folder
    return found


def find_files(reference: Path, systems: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Files by role, then by stem: those of the reference folder and of each system's folder.

    Raises `ListeningError` for a folder that is missing or can't be used.
    """
    by_role = {REFERENCE: _by_stem(reference), **{name: _by_stem(folder) for name, folder in systems.items()}}
    if not by_role[REFERENCE]:
        raise ListeningError(f"{reference}: holds no sound file; expected {' or '.join(AUDIO_SUFFIXES)} files.")
    return by_role


def choose(
    files: Mapping[str, Mapping[str, Path]], wanted: Sequence[str], count: int, seed: int
) -> tuple[list[str], str]:
    """The items of the test, and the one for training: a further item that all systems have, else the test's first."""
    stems = sorted(files[REFERENCE])
    unknown = sorted(set(wanted) - set(stems))
    if unknown:
        raise ListeningError(
            f"{_listed(unknown)}: the reference folder holds no item of that name; expected some of {_listed(stems)}."
        )
    if not wanted and count > len(stems):
        raise ListeningError(
            f"{count} items were asked for but the reference folder holds {len(stems)}; ask for fewer, or add files."
        )
    order = [stems[index] for index in np.random.default_rng([seed, 0]).permutation(len(stems))]
    chosen = list(dict.fromkeys(wanted)) or sorted(order[:count])
    left = (stem for stem in order if stem not in chosen and _is_like(files, stem, chosen[0]))
    return chosen, next(left, chosen[0])


def _is_like(files: Mapping[str, Mapping[str, Path]], stem: str, chosen: str) -> bool:
    """Whether an item that was not asked for can be used in a test together with a chosen one."""
    try:
        check_files(files, [chosen, stem])
        return not is_silent(read_channel(files[REFERENCE][stem])[0])
    except (ListeningError, AudioFileError):
        return False


def check_files(files: Mapping[str, Mapping[str, Path]], stems: Iterable[str]) -> int:
    """The sample rate in hertz that all files share. Raises `ListeningError` naming what is missing or differs."""
    needed = sorted(set(stems))
    for role, own in files.items():
        missing = [stem for stem in needed if stem not in own]
        if missing:
            raise ListeningError(
                f"{role}: {len(missing)} of {len(needed)} files are missing: {_listed(missing)}; expected a file for "
                "each item, so add them, or choose other items by name."
            )
    problems: list[str] = []
    rates = set()
    for stem in needed:
        try:
            infos = {role: read_info(own[stem]) for role, own in files.items()}
        except AudioFileError as exc:
            problems.append(str(exc))
            continue
        first = infos[REFERENCE]
        rates.add(first.sample_rate_hz)
        for role, info in infos.items():
            if info.sample_rate_hz != first.sample_rate_hz:
                problems.append(f"{files[role][stem]} is at {info.sample_rate_hz} Hz, not {first.sample_rate_hz}")
            elif info.samples != first.samples:
                problems.append(f"{files[role][stem]} holds {info.samples} samples, not {first.samples}")
        if first.samples == 0:
            problems.append(f"{files[REFERENCE][stem]} holds no samples")
    if len(rates) > 1:
        problems.append(f"the items are at {_listed([f'{rate} Hz' for rate in sorted(rates)])}")
    if problems:
        raise ListeningError(
            f"all files must have the same rate, and all files of an item the same length, as the reference has: "
            f"{_listed(problems, '; ')}."
        )
    return rates.pop()


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ListeningError(f"{folder}: no such folder; expected one with sound files.")
    found: dict[str, Path] = {}
    for path in sounds_in(folder):
        if not is_text(path.name):
            raise ListeningError(f"{folder}: {path.name!a} is not UTF-8, and answers are kept by name; rename it.")
        if path.stem in found:
            raise ListeningError(f"{folder}: {path.stem!r} occurs with several suffixes; keep one of them.")
        found[path.stem] = path
    return found


def _listed(names: Sequence[str], between: str = ", ") -> str:
    more = f"{between}… and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more
