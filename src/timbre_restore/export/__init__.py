"""Export of a generator to ONNX, verified against the original network."""

from timbre_restore.export.onnx_file import ExportReport, export_generator

__all__ = ["ExportReport", "export_generator"]
