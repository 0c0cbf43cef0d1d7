"""Checks of an exported file with the shipped runtime: each yields a figure and its limit."""

from timbre_restore.runtime.checks.every import Extent, check_model
from timbre_restore.runtime.checks.rows import Row, sentence_of

__all__ = ["Extent", "Row", "check_model", "sentence_of"]
