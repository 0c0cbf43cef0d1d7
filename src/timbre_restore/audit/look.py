"""The audit: every check in its order, over every item, and the verdict that training reads later."""

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
"""Items whose over-suppression and spectrum are taken, spread over the lists."""


def audit(
    output_dir: Path,
    *,
    expected: sources.Expected | None = None,
    run: machine.Run | None = None,
    trial: Callable[[], machine.Timing] | None = None,
    num_workers: int = 0,
    progress: Progress = lambda done, whole, name: None,
) -> Report:
    """Look over a prepared corpus: every listed file, the split, the sources, this machine, the hours it would take.

    NOT READY are: a file that is missing, unreadable, of another rate or length, or holds NaN; a side that is not
    aligned with its noisy side or has nothing of it; lists that are malformed, disagree with `items.tsv`, or leave
    nothing to train on; a speaker, recording or piece of audio on both sides; another segment than the configuration
    says. All else warns. What was found does not depend on `num_workers`. `trial` measures a few steps of training;
    it is called last, and only for a corpus that is ready. The verdict is kept in the folder for `train`.
    Raises `CorpusError` where there are no lists.
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
    remember(corpus, report, expected.segment or look.segment)  # some reasons are of that length alone
    return report


def how_to_look(corpus: Corpus, expected: sources.Expected, *, close_items: int) -> Look:
    """The segment is what the corpus was made with, else what is expected of it."""
    made = corpus.settings.get("segment")
    segment = made if isinstance(made, int) and made > 0 else expected.segment or DEFAULT_SEGMENT
    step = max(1, -(-len(corpus.pairs) // close_items)) if close_items else len(corpus.pairs) + 1
    return Look(segment, DFN3_LATENCY_SAMPLES, step)
