"""Create the folder of a test, completely or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from timbre_restore import atomic
from timbre_restore.audio import Channel, FloatArray, read_audio, read_channel, write_audio
from timbre_restore.errors import ListeningError
from timbre_restore.listening import plan, sources
from timbre_restore.listening.excerpts import ANCHOR_HZ, busiest_start, faded, levelled, low_pass
from timbre_restore.listening.lock import LOCK_FILE, alone
from timbre_restore.listening.plan import CCR, HIDDEN, KINDS, REFERENCE, Excerpt, ListeningTest, Trial
from timbre_restore.metrics import is_silent

Progress = Callable[[int, int, object], None]

SHORTEST_S = 0.5
USUAL_COUNT = 8


@dataclass(frozen=True)
class ListeningRequest:
    """What to make a test from. `items` names the items; if it is empty, `count` are drawn using the seed."""

    reference: Path
    systems: Sequence[tuple[str, Path]]
    kind: str = plan.MUSHRA
    items: Sequence[str] = ()
    count: int | None = None
    """By default `USUAL_COUNT`, or all items if there are fewer."""
    seconds: float = 8.0
    seed: int = 0
    baseline: str | None = None
    """What the others are compared with: a system or, for pairs, also 'reference'. By default the first system."""
    mid_anchor: bool = False


def make_test(
    wanted: ListeningRequest, folder: Path, progress: Progress = lambda done, count, name: None
) -> ListeningTest:
    """Create the test in `folder`. Raises `ListeningError` or `AudioFileError`, leaving the folder unchanged."""
    _refuse_folder(folder)
    systems = sources.check_systems(wanted.systems)
    baseline = _baseline(wanted, systems)
    if wanted.kind == CCR and wanted.mid_anchor:
        raise ListeningError(
            "a test of pairs has no anchors; leave out the mid anchor, or choose another kind of test."
        )
    files = sources.find_files(wanted.reference, systems)
    if wanted.count is not None and wanted.items:
        raise ListeningError(f"both a count ({wanted.count}) and names of items were given; give only one of the two.")
    count = wanted.count or min(USUAL_COUNT, len(files[REFERENCE]))
    chosen, training = sources.choose(files, wanted.items, count, wanted.seed)
    rate = sources.check_files(files, [*chosen, training])
    if wanted.kind == CCR:
        trials = plan.ccr_trials(chosen, training, list(systems), baseline, wanted.seed)
    else:
        trials = plan.mushra_trials(chosen, training, list(systems), wanted.seed, mid_anchor=wanted.mid_anchor)
    stems = list(dict.fromkeys([*chosen, training]))
    with _replacing_folder(folder) as place:
        excerpts: dict[str, Excerpt] = {}
        for done, stem in enumerate(stems):
            progress(done, len(stems), stem)
            signals, excerpts[stem] = _signals(
                {role: own[stem] for role, own in files.items()}, wanted.seconds, rate, mid_anchor=wanted.mid_anchor
            )
            _write_sounds(place / plan.STIMULI, [t for part in trials for t in part if t.item == stem], signals, rate)
        (place / plan.ANSWERS).mkdir()
        test = ListeningTest(wanted.kind, wanted.seed, tuple(systems), baseline, rate, excerpts, *trials)
        atomic.write_json(place / plan.PLAN_FILE, test.as_json())
    return test


def _baseline(wanted: ListeningRequest, systems: Mapping[str, Path]) -> str:
    if wanted.kind not in KINDS:
        raise ListeningError(f"{wanted.kind!r} is not a kind of test; expected one of {', '.join(KINDS)}.")
    baseline = wanted.baseline or next(iter(systems))
    allowed = [*systems, *((REFERENCE,) if wanted.kind == CCR else ())]
    if baseline not in allowed:
        raise ListeningError(f"the baseline {baseline!r} is not a system of this test; expected one of {allowed}.")
    if wanted.kind == CCR and not set(systems) - {baseline}:
        raise ListeningError(
            f"{baseline!r} is the only system, so there is nothing to compare it with; add another system, or use the "
            f"baseline '{REFERENCE}'."
        )
    return baseline


def _signals(
    files: Mapping[str, Path], seconds: float, rate_hz: int, *, mid_anchor: bool
) -> tuple[dict[str, FloatArray], Excerpt]:
    """The signals of an item by role, cut alike and at one gain, using the reference's channel of each file."""
    channel = Channel.of(read_audio(files[REFERENCE])[0])
    whole = {role: read_channel(path, channel=channel)[0] for role, path in files.items()}
    reference = whole[REFERENCE]
    if is_silent(reference):
        raise ListeningError(
            f"{files[REFERENCE]}: is silent, so there is nothing to compare with; choose other items by name."
        )
    length = min(len(reference), round(max(seconds, SHORTEST_S) * rate_hz))
    start = busiest_start(reference, length, rate_hz)
    cut = {role: samples[start : start + length] for role, samples in whole.items()}
    # The filter sees what lies before and after the excerpt, as the other systems did.
    for role, pass_hz in ANCHOR_HZ.items():
        if role != plan.MID_ANCHOR or mid_anchor:
            before, behind = max(0, start - rate_hz), start + length + rate_hz
            cut[role] = low_pass(reference[before:behind], pass_hz, rate_hz)[start - before :][:length]
    ends = {"begin": start > 0, "end": start + length < len(reference)}
    cut = {role: faded(samples, rate_hz, **ends) for role, samples in cut.items()}
    levels, gain_db = levelled(cut, cut[REFERENCE])
    levels[HIDDEN] = levels[REFERENCE]
    return levels, Excerpt(round(start / rate_hz, 6), round(length / rate_hz, 6), round(gain_db, 3))


def _write_sounds(folder: Path, trials: Sequence[Trial], signals: Mapping[str, FloatArray], rate_hz: int) -> None:
    """Write in name order, since file times would otherwise reveal which system was written first.

    Plain WAV, so that all files of an item have the same size; a compressed size would depend on the content.
    """
    sounds = {name: role for trial in trials for name, role in trial.sounds().items()}
    for name in sorted(sounds):
        write_audio(folder / f"{name}.wav", signals[sounds[name]], rate_hz)


def _refuse_folder(folder: Path) -> None:
    """Refuse a folder that holds answers or anything other than a test: neither is ever overwritten."""
    if not folder.exists():
        return
    if (here := Path.cwd()) == (real := folder.resolve()) or real in here.parents:
        raise ListeningError(
            f"{folder}: is the current folder or contains it, and the test would replace it; give a new folder."
        )
    if not folder.is_dir():
        raise ListeningError(f"{folder}: is a file; expected a folder to create the test in.")
    answers = sorted((folder / plan.ANSWERS).glob("*.jsonl"))
    if answers:
        raise ListeningError(
            f"{folder}: holds a test with answers (files: {len(answers)}), which are never overwritten; give another "
            "folder, or move this one away."
        )
    own = {plan.PLAN_FILE, plan.STIMULI, plan.ANSWERS, LOCK_FILE} if (folder / plan.PLAN_FILE).is_file() else set()
    if others := sorted(path.name for path in folder.iterdir() if path.name not in own):
        raise ListeningError(
            f"{folder}: holds files that are not part of a listening test ({others[0]}), and a new test would replace "
            "the whole folder; give another one."
        )
    if (folder / plan.PLAN_FILE).is_file():
        with alone(folder):
            pass  # a test being served may get its first answer at any moment


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder that becomes `folder` when the block ends without an error, and vanishes otherwise."""
    real = Path(os.path.realpath(folder))
    built, old = (real.with_name(f".{real.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    with atomic.folder_for_files(real.parent):
        try:
            built.mkdir()
            yield built
            _refuse_folder(folder)  # since the first check, a server may have started or files may have been added
            if real.exists():
                os.replace(real, old)
            try:
                os.replace(built, real)
            except OSError:
                if old.exists():
                    os.replace(old, real)
                raise
        finally:
            shutil.rmtree(built, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
