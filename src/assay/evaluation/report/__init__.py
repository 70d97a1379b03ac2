"""The evaluation report: one self-contained HTML page without scripts or network requests, and the same as JSON."""

from assay.evaluation.report.report_data import EpochRow, MakeHeatmap, ReportContext, ReportFinding
from assay.evaluation.report.report_files import REPORT_FILES, write_report

__all__ = ["REPORT_FILES", "EpochRow", "MakeHeatmap", "ReportContext", "ReportFinding", "write_report"]
