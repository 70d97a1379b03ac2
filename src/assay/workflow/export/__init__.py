"""A bundle as files for other runtimes: ONNX, OpenVINO, TorchScript, with an example of use beside each."""

from assay.workflow.export.agreement import Agreement
from assay.workflow.export.export import Exported, ExportResult, export_model
from assay.workflow.export.formats import ALL, FORMATS, Format
from assay.workflow.export.runtimes import RUNTIMES, Runtime

__all__ = [
    "ALL",
    "FORMATS",
    "RUNTIMES",
    "Agreement",
    "ExportResult",
    "Exported",
    "Format",
    "Runtime",
    "export_model",
]
