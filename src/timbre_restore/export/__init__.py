"""Generator to ONNX, proven equal."""

from timbre_restore.export.onnx_file import ExportReport, export_generator

__all__ = ["ExportReport", "export_generator"]
