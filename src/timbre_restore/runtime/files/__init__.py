"""Files, folders and pipes: reading, restoring and writing."""

from timbre_restore.runtime.files.formats import CONTAINERS, PIPE, RAW_FORMATS, OutputFormat, Raw
from timbre_restore.runtime.files.one import FileResult
from timbre_restore.runtime.files.reading import InputEnd
from timbre_restore.runtime.files.restore import RestoreSummary, Standing, restore_path
from timbre_restore.runtime.files.treatment import Recipe, Treatment

__all__ = [
    "CONTAINERS",
    "PIPE",
    "RAW_FORMATS",
    "FileResult",
    "InputEnd",
    "OutputFormat",
    "Raw",
    "Recipe",
    "RestoreSummary",
    "Standing",
    "Treatment",
    "restore_path",
]
