"""Making pairs: scan, plan, render, write, list. Free of torch."""

from timbre_restore.corpus.prepare import prepare
from timbre_restore.corpus.spec import CorpusSpec, PrepareSummary, SourceSpec

__all__ = ["CorpusSpec", "PrepareSummary", "SourceSpec", "prepare"]
