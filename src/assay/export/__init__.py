"""Export a bundle to other formats: ONNX, OpenVINO and TorchScript, each with example code."""

from assay.export.exporter import Agreement, ExportedFormat, ExportResult, export_model
from assay.export.formats import ALL_FORMATS, FORMATS, RUNTIMES, ExportFormat, ExportRuntime

__all__ = [
    "ALL_FORMATS",
    "FORMATS",
    "RUNTIMES",
    "Agreement",
    "ExportFormat",
    "ExportResult",
    "ExportRuntime",
    "ExportedFormat",
    "export_model",
]
