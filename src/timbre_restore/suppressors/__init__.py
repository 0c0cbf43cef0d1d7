"""Noise suppressors behind one protocol. Does not import torch."""

from timbre_restore.suppressors.base import NO_LIMIT_DB, Hints, Suppressor, SuppressorSettings
from timbre_restore.suppressors.dfn3 import DFN3_ARCHIVE_SHA256, DFN3_LATENCY_SAMPLES
from timbre_restore.suppressors.family import SUPPRESSORS, describe_suppressor, load_suppressor

__all__ = [
    "DFN3_ARCHIVE_SHA256",
    "DFN3_LATENCY_SAMPLES",
    "NO_LIMIT_DB",
    "SUPPRESSORS",
    "Hints",
    "Suppressor",
    "SuppressorSettings",
    "describe_suppressor",
    "load_suppressor",
]
