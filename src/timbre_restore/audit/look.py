"""The audit: all checks in order, over every item, and the verdict that training reads later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from timbre_restore.audit import integrity, machine, sources, split
from timbre_restore.audit.item import Look
from timbre_restore.audit.listing import Corpus, read_corpus
from timbre_restore.audit.pool import Progress, look_at_all
from timbre_restore.audit.report import Report
from timbre_restore.audit.verdict import remember
from timbre_restore.suppressors import DFN3_LATENCY_SAMPLES

DEFAULT_SEGMENT = 48_000
CLOSE_ITEMS = 500
"""Number of items, spread over the lists, whose over-suppression and spectrum are measured."""


def audit(
    output_dir: Path,
    *,
    expected: sources.Expected | None = None,
    run: machine.Run | None = None,
    trial: Callable[[], machine.Timing] | None = None,
    num_workers: int = 0,
    progress: Progress = lambda done, whole, name: None,
) -> Report:
    """Audit a prepared corpus: every listed file, the split, the sources, this machine, and the training time.

    A corpus is NOT READY if a file is missing, unreadable, of the wrong rate or length, or contains NaN; if a side is
    not aligned with its noisy side or does not occur in it; if lists are malformed, disagree with `items.tsv`, or leave
    nothing to train on; if a speaker, recording or piece of audio is on both sides; or if the segment differs from the
    configuration's. Everything else gives a warning. The findings do not depend on `num_workers`. `trial` measures a
    few training steps; it is called last, and only for a corpus that is ready. The verdict is stored in the folder for
    `train`. Raises `CorpusError` when lists are missing.
    """
    corpus = read_corpus(output_dir)
    expected = expected or sources.Expected()
    run = run or machine.Run()
    report = Report(corpus.root, dict(corpus.items))
    split.check_lists(corpus, report)
    sources.check_settings(corpus, expected, report)
    split.check_leaks(corpus, report)
    look = how_to_look(corpus, expected, close_items=CLOSE_ITEMS)
    seen = look_at_all(corpus.pairs, corpus.hinted, look, num_workers, progress)
    integrity.check_files(corpus, seen.faults, report)
    integrity.check_alignment(corpus, seen.facts, report)
    split.check_copies(corpus, seen.facts, report)
    integrity.check_signals(corpus, seen.facts, report)
    integrity.check_suppression(seen.facts, report)
    sources.check_shares(corpus, expected, report)
    sources.check_bandwidth(corpus, seen.facts, seen.spectra, report)
    sources.check_draws(corpus, report)
    machine.check_machine(corpus, run, report)
    machine.check_duration(corpus, run, trial, report)
    remember(corpus, report, expected.segment or look.segment)  # some reasons apply to that segment only
    return report


def how_to_look(corpus: Corpus, expected: sources.Expected, *, close_items: int) -> Look:
    """How to inspect items; the segment is the one the corpus was made with, else the expected one."""
    made = corpus.settings.get("segment")
    segment = made if isinstance(made, int) and made > 0 else expected.segment or DEFAULT_SEGMENT
    step = max(1, -(-len(corpus.pairs) // close_items)) if close_items else len(corpus.pairs) + 1
    return Look(segment, DFN3_LATENCY_SAMPLES, step)
