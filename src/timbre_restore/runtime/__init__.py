"""Audio in, audio out: the exported model on whole signals, streams, files and folders. Free of torch."""

from timbre_restore.runtime.chain import Chain, ChainStream
from timbre_restore.runtime.files import FileResult, RestoreSummary, restore_path
from timbre_restore.runtime.restorer import Restorer, packaged_voices
from timbre_restore.runtime.stream import Stream

__all__ = [
    "Chain",
    "ChainStream",
    "FileResult",
    "RestoreSummary",
    "Restorer",
    "Stream",
    "packaged_voices",
    "restore_path",
]
