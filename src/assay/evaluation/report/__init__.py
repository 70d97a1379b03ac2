"""The evaluation report: one self-contained HTML page without scripts or network requests.

The same content as JSON.
"""

from assay.evaluation.report.context import EpochMetrics, ReportContext, ReportFinding
from assay.evaluation.report.report_files import REPORT_FILES, write_report

__all__ = ["REPORT_FILES", "EpochMetrics", "ReportContext", "ReportFinding", "write_report"]
