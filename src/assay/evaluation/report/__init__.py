"""The report: one HTML page that a person without training in statistics can read, and the same as JSON.

The page holds its pictures itself, asks the network for nothing, and runs no script.
"""

from assay.evaluation.report.context import Epoch, Finding, ReportContext
from assay.evaluation.report.write import REPORT_FILES, write_report

__all__ = ["REPORT_FILES", "Epoch", "Finding", "ReportContext", "write_report"]
