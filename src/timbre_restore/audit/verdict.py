"""The verdict stored with a corpus, and how training uses it.

Auditing everything takes minutes for a hundred thousand items, and training is started often. So the audit stores its
verdict in `.state/audit.json`, tied to a digest of lists, rows and the size of every file they need. Training uses it
while the digest matches, and gives its reasons if it was NOT READY. Without a matching verdict, training makes its own
check: lists, leaks and the existence of every file for all items, but the content of files only for a sample spread
over the corpus, because that takes the time.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from timbre_restore.atomic import write_json
from timbre_restore.audit import integrity, sources, split
from timbre_restore.audit.item import ITEM, Fault, Look, look_at
from timbre_restore.audit.listing import Corpus, read_corpus
from timbre_restore.audit.report import Report
from timbre_restore.errors import CorpusError
from timbre_restore.suppressors import DFN3_LATENCY_SAMPLES

SAMPLED_ITEMS = 256
SHOWN_REASONS = 5


def remember(corpus: Corpus, report: Report, segment: int) -> None:
    """Store the verdict in the folder; if that can't be written, training makes its own check."""
    content = {"digest": corpus.digest, "segment": segment, "ready": report.ready, "reasons": report.reasons}
    try:
        write_json(_place(corpus), content)
    except OSError:
        return


def require_sound(output_dir: Path, segment: int) -> None:
    """Raise `CorpusError` with the reasons when a corpus is not ready for training.

    `segment` is the length in samples that training will read.
    """
    corpus = read_corpus(output_dir)
    reasons = _remembered(corpus, segment)
    if reasons is None:
        reasons = _look_quickly(corpus, segment).reasons
    if reasons:
        more = f" (and {len(reasons) - SHOWN_REASONS} more)" if len(reasons) > SHOWN_REASONS else ""
        raise CorpusError(
            f"{corpus.root}: is not ready for training: {'; '.join(reasons[:SHOWN_REASONS])}{more}. Fix it ("
            "'timbre-restore audit' shows all problems), or train anyway with --skip-audit."
        )


def _remembered(corpus: Corpus, segment: int) -> list[str] | None:
    """Reasons of a stored verdict that matches these lists, files and segment; None without one."""
    try:
        content = json.loads(_place(corpus).read_text(encoding="utf-8"))
        fits = content["segment"] == segment and content["digest"] == corpus.digest
        reasons = [str(reason) for reason in content["reasons"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return reasons if fits else None


def _look_quickly(corpus: Corpus, segment: int) -> Report:
    report = Report(corpus.root)
    split.check_lists(corpus, report)
    sources.check_settings(corpus, sources.Expected(segment=segment), report)
    split.check_leaks(corpus, report)
    gone = [path for path, size in corpus.files.items() if size <= 0]
    if gone:
        report.broken("files", f"{len(gone)} files are missing or empty, e.g. {gone[0]}", len(gone))
        return report
    chosen = sorted({i * len(corpus.pairs) // SAMPLED_ITEMS for i in range(SAMPLED_ITEMS)} if corpus.pairs else ())
    look = Look(segment, DFN3_LATENCY_SAMPLES, len(corpus.pairs) + 1)
    facts, faults = np.zeros(len(corpus.pairs), dtype=ITEM), list[Fault]()
    for item in chosen:
        seen = look_at(1, [corpus.pairs[item]], [corpus.hinted[item]], look)
        facts[item] = seen.facts[0]
        faults += [replace(fault, item=item) for fault in seen.faults]
    integrity.check_files(corpus, faults, report)
    integrity.check_alignment(corpus, facts, report)
    return report


def _place(corpus: Corpus) -> Path:
    return corpus.root / ".state" / "audit.json"
