"""Runs an exported model on whole signals, streams, files, folders and pipes. Does not import torch."""

from timbre_restore.runtime.chain import Chain, ChainStream
from timbre_restore.runtime.files import (
    PIPE,
    FileResult,
    InputEnd,
    OutputFormat,
    Raw,
    Recipe,
    RestoreSummary,
    Standing,
    Treatment,
    restore_path,
)
from timbre_restore.runtime.restorer import SUPPRESSED_VOICE, Restorer, packaged_voices, packaged_weights
from timbre_restore.runtime.stream import Stream

__all__ = [
    "PIPE",
    "SUPPRESSED_VOICE",
    "Chain",
    "ChainStream",
    "FileResult",
    "InputEnd",
    "OutputFormat",
    "Raw",
    "Recipe",
    "RestoreSummary",
    "Restorer",
    "Standing",
    "Stream",
    "Treatment",
    "packaged_voices",
    "packaged_weights",
    "restore_path",
]
