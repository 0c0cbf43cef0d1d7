"""Audio in, audio out: the exported model, files and folders. numpy and ONNX Runtime only."""

from timbre_restore.runtime.files import FileResult, RestoreSummary, restore_path
from timbre_restore.runtime.restorer import Restorer

__all__ = ["FileResult", "RestoreSummary", "Restorer", "restore_path"]
