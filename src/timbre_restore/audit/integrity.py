"""Checks of the files (complete, aligned, of the same origin) and of the signals in them.

A file that can't be trained on, a pair that does not belong together and a delayed side make a corpus NOT READY.
Clipping, offset and silence affect the result but not whether training works, so they only warn: real recordings have
them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbre_restore.audit.item import NEAR_SAMPLES, ROLES, Fault
from timbre_restore.audit.listing import Corpus
from timbre_restore.audit.report import Report, of, some

ACTIVE_DBFS = -60.0
SILENT_DBFS = -80.0
MATCHED = 0.12
"""Phase correlation from which a lag is reliable: unrelated signals stay below 0.09."""
STRANGE = 0.06
"""Two signals with less correlation near lag 0 are unrelated: pairs were seen from 0.12, unrelated ones up to 0.05."""
HEARD_IN_DB = {"degraded": 20.0, "clean": 10.0}
HEARD_SNR_DB = 5.0
"""A side is judged only if it is at most `HEARD_IN_DB` below noisy, and clean only if mixed at this SNR or more: a
voice that the suppressor removed leaves nothing to compare, and in rooms and loud noise true pairs were seen down to
0.03, though nearly always with their peak at lag 0."""
HEARD_ACTIVITY = 0.3
"""Items with voice in a smaller share of their duration have too little to judge by."""
SURE = 0.3
"""Phase correlation from which a lag is worth reporting: rhythmic noise has peaks of its own."""
OFFSET_DB = -20.0
FLAT_TOPS = 3
MOST_EMPTIED = 0.1
"""A few are normal: a suppressor may remove a quiet syllable in loud noise completely."""


def check_files(corpus: Corpus, faults: list[Fault], report: Report) -> None:
    """Report files that are missing, unreadable, or of the wrong kind."""
    for problem in corpus.problems:
        report.broken("lists", problem)
    found: dict[tuple[str, str], list[Fault]] = defaultdict(list)
    for fault in faults:
        found[fault.what, fault.role].append(fault)
    for (what, role), own in found.items():
        verb = "file is" if len(own) == 1 else "files are"
        report.broken("files", f"{len(own)} {role} {verb} {what}, e.g. {own[0].detail}", len(own))


def check_alignment(corpus: Corpus, facts: NDArray[Any], report: Report) -> None:
    """Degraded and clean against noisy: the lag, and whether they have the same origin at all.

    A side that was swapped or shifted matches neither of the others, so one pair that does not match is not enough.
    """
    audible = facts["level"].min(axis=1) >= ACTIVE_DBFS
    judged = ~(corpus.numbers("activity") < HEARD_ACTIVITY)  # unknown (NaN) counts as judged
    largest, measured = 0, 0
    for place, role in enumerate(ROLES[:2]):
        lag, match, near = (facts[name][:, place] for name in ("lag", "match", "near"))
        placed = facts["whole"] & audible & (match >= MATCHED)
        measured = max(measured, int((placed & (match >= SURE)).sum()))
        away = np.abs(lag) > NEAR_SAMPLES
        doubted = (near < STRANGE) & ((facts["near"] < STRANGE).sum(axis=1) >= 2) & judged
        slipped = placed & away & (match > 1.5 * near) & doubted
        # Repetitive sound also matches at a distance; one that matches near lag 0 too is in place.
        sure = placed & (match >= SURE) & ~(away & (near >= STRANGE))
        if sure.any():
            largest = max(largest, int(lag[sure][np.abs(lag[sure]).argmax()]), key=abs)
        strange = facts["whole"] & audible & ~slipped & doubted
        strange &= facts["level"][:, place] >= facts["level"][:, 2] - HEARD_IN_DB[role]
        if role == "clean":
            strange &= away
            strange &= ~(corpus.numbers("snr_db") < HEARD_SNR_DB)
        if slipped.any():
            names = [f"{_path(corpus, i, role)} ({lag[i]:+d} samples)" for i in np.flatnonzero(slipped).tolist()]
            report.broken(
                "alignment",
                f"{_items(slipped)} not aligned: {role} against noisy, e.g. {some(names)}",
                int(slipped.sum()),
            )
        if strange.any():
            names = [str(_path(corpus, i, role)) for i in np.flatnonzero(strange).tolist()]
            said = f"{_items(strange)} mismatched: the {role} signal does not occur in the noisy one"
            report.broken("origin", f"{said}, e.g. {some(names)}", int(strange.sum()))
    report.fact(
        "alignment",
        "largest lag against noisy",
        f"{largest} samples, measured in {measured} items",
        {"samples": largest, "items": measured},
    )


def check_signals(corpus: Corpus, facts: NDArray[Any], report: Report) -> None:
    """Report clipping, offset, silence and levels."""
    whole = facts["whole"]
    clean, degraded = facts["level"][:, 1], facts["level"][:, 0]
    marks = {
        "clipping": (facts["full_scale"] > 0, "reach full scale, which prepare never writes: clipped"),
        "flat tops": (facts["flat_tops"] >= FLAT_TOPS, "have a clean side that was clipped before it was stored"),
        "offset": (facts["offset_db"] >= OFFSET_DB, f"have a DC offset above {OFFSET_DB:.0f} dB of their level"),
        "silence": (clean < SILENT_DBFS, f"have a silent clean side (below {SILENT_DBFS:.0f} dBFS)"),
    }
    for check, (mark, words) in marks.items():
        found = np.flatnonzero(mark & whole).tolist()
        report.fact("signals", check, of(len(found), len(facts), "items"), len(found))
        if found:
            names = [_path(corpus, i, "clean").name for i in found]
            report.warn(check, f"{of(len(found), len(facts), 'items')} {words}, e.g. {some(names)}", len(found))
    emptied = int(np.count_nonzero(whole & (clean >= ACTIVE_DBFS) & (degraded < ACTIVE_DBFS)))
    said = f"{of(emptied, len(facts), 'items')} have a voice that the suppressor removed completely"
    report.fact("signals", "emptied by the suppressor", of(emptied, len(facts), "items"), emptied)
    if emptied > MOST_EMPTIED * len(facts):
        report.warn("emptied", said, emptied)
    voiced = whole & (clean >= SILENT_DBFS)
    report.distribution("active level of clean", "dBFS", clean[voiced])
    report.distribution("active level of degraded", "dBFS", degraded[voiced & (degraded >= SILENT_DBFS)])


def check_suppression(facts: NDArray[Any], report: Report) -> None:
    """Report what the suppressor took, on the items that were measured in detail."""
    for name, title in (
        ("osr", "over-suppression of degraded"),
        ("osr_hf", "over-suppression of degraded, 8–20 kHz"),
        ("residual", "residual noise of degraded"),
    ):
        values = facts[name][facts["whole"] & np.isfinite(facts[name])]
        report.distribution(title, "%", 100.0 * values)
        if len(values):
            mean = 100.0 * float(values.mean(dtype=np.float64))
            report.fact("suppression", title, f"{mean:.1f} % on average of {len(values)} items", mean)


def _path(corpus: Corpus, item: int, role: str) -> Any:
    return getattr(corpus.pairs[item], role)


def _items(mark: NDArray[np.bool_]) -> str:
    count = int(mark.sum())
    return f"{count} item is" if count == 1 else f"{count} items are"
