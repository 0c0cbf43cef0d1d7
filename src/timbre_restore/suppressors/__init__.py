"""What took the timbre: noise suppressors behind one Protocol, free of torch."""

from timbre_restore.suppressors.base import Suppressor
from timbre_restore.suppressors.dfn3 import DFN3_ARCHIVE_SHA256, DFN3_LATENCY_SAMPLES, load_suppressor

__all__ = ["DFN3_ARCHIVE_SHA256", "DFN3_LATENCY_SAMPLES", "Suppressor", "load_suppressor"]
