"""The evaluation report: one self-contained HTML page without scripts or network requests, and the same as JSON."""

from assay.evaluation.report.report_data import EpochMetrics, MakeHeatmap, ReportContext, ReportFinding
from assay.evaluation.report.report_files import REPORT_FILES, write_report

__all__ = ["REPORT_FILES", "EpochMetrics", "MakeHeatmap", "ReportContext", "ReportFinding", "write_report"]
