"""Making training pairs: scan, plan, render, write, list. Does not import torch."""

from timbre_restore.corpus.cluster import make_on_ray
from timbre_restore.corpus.prepare import Work, prepare
from timbre_restore.corpus.spec import CorpusSpec, PrepareSummary, SourceSpec, Variety

__all__ = ["CorpusSpec", "PrepareSummary", "SourceSpec", "Variety", "Work", "make_on_ray", "prepare"]
