"""Write the report beside the other files of an evaluation: the page, the JSON and its tables."""

from collections.abc import Mapping
from pathlib import Path

from assay.evaluation.metrics import Metrics
from assay.evaluation.predictions import Predictions
from assay.evaluation.report.album import shots
from assay.evaluation.report.context import ReportContext
from assay.evaluation.report.data import to_dict, write_tables
from assay.evaluation.report.facts import gather
from assay.evaluation.report.gallery import choose
from assay.evaluation.report.page import render
from assay.files import write_text
from assay.progress import Progress, silent
from assay.tables import write_json

REPORT_FILES: Mapping[str, str] = {
    "page": "report.html",
    "json": "report.json",
    "slices": "slices.csv",
    "suspects": "suspects.csv",
    "thresholds": "thresholds.csv",
    "reliability": "reliability.csv",
}
"""What `write_report` writes: a name for each file, and the file's name in the folder."""


def write_report(
    folder: Path,
    predictions: Predictions,
    metrics: Metrics,
    context: ReportContext | None = None,
    progress: Progress = silent,
) -> Path:
    """Write the report; files of an earlier one in the folder are replaced.

    Args:
        folder: where to; made if it is missing.
        predictions: what the classifier said.
        metrics: what `evaluate` counted on them.
        context: what surrounds the predictions; none: nothing.
        progress: told of every photo opened and every picture made.

    Returns:
        The path of the page.
    """
    context = context or ReportContext()
    facts = gather(predictions, metrics, context, progress)
    gallery = choose(facts, heat=context.heatmap is not None)
    pictures = shots(gallery.wishes(), read=context.read, heatmap=context.heatmap, progress=progress)
    page = folder / REPORT_FILES["page"]
    text = render(facts, context, gallery, pictures)
    write_text(page, text.encode("utf-8", "replace").decode())
    write_json(folder / REPORT_FILES["json"], to_dict(facts, context))
    write_tables(folder, facts, REPORT_FILES)
    return page
