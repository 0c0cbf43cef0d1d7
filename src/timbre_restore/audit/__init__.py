"""Checking whether a corpus can be trained on, and what is in it. Does not import torch."""

from timbre_restore.audit.listing import read_corpus
from timbre_restore.audit.look import audit
from timbre_restore.audit.machine import Run, Timing, check_duration
from timbre_restore.audit.page import write_page
from timbre_restore.audit.report import Report, as_json
from timbre_restore.audit.sources import Expected
from timbre_restore.audit.verdict import require_sound

__all__ = [
    "Expected",
    "Report",
    "Run",
    "Timing",
    "as_json",
    "audit",
    "check_duration",
    "read_corpus",
    "require_sound",
    "write_page",
]
