"""Writes the report: the page, the JSON and its CSV tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.core.files import write_text
from assay.core.progress import Progress, no_progress
from assay.core.tables import Cell, write_csv, write_json
from assay.evaluation.metrics import Metrics
from assay.evaluation.predictions import Predictions
from assay.evaluation.report.gallery import make_thumbnails, select_photos
from assay.evaluation.report.page import render_page
from assay.evaluation.report.report_data import ReportContext, ReportData, collect_report_data
from assay.evaluation.report.report_sentences import (
    baseline_sentence,
    positive_class_sentence,
    question_sentence,
    result_sentence,
)

REPORT_FORMAT = 1
"""Version of the layout of `report.json`."""

REPORT_FILES: Mapping[str, str] = {
    "page": "report.html",
    "json": "report.json",
    "slices": "slices.csv",
    "label_issues": "label_issues.csv",
    "thresholds": "thresholds.csv",
    "reliability": "reliability.csv",
}
"""The files that `write_report` writes into the folder, by name."""


def write_report(
    folder: Path,
    predictions: Predictions,
    metrics: Metrics,
    context: ReportContext | None = None,
    progress: Progress = no_progress,
) -> Path:
    """Write the report; files of an earlier one in the folder are replaced.

    Args:
        folder: created if it is missing.
        predictions: of the evaluated images.
        metrics: of the predictions.
        context: what else the report shows.
        progress: called with the number of images read and thumbnails made.

    Returns:
        The path of the page.
    """
    context = context or ReportContext()
    data = collect_report_data(predictions, metrics, context, progress)
    gallery = select_photos(data, with_heatmaps=context.make_heatmap is not None)
    thumbnails = make_thumbnails(
        gallery.requests(), read=context.read_image, make_heatmap=context.make_heatmap, progress=progress
    )
    page = folder / REPORT_FILES["page"]
    text = render_page(data, context, gallery, thumbnails)
    write_text(page, text.encode("utf-8", "replace").decode())
    write_json(folder / REPORT_FILES["json"], report_to_dict(data, context))
    _write_tables(folder, data)
    return page


def report_to_dict(data: ReportData, context: ReportContext) -> dict[str, Any]:
    """Return the content of the page, ready for JSON."""
    predictions, metrics = data.predictions, data.metrics
    return {
        "format": REPORT_FORMAT,
        "title": context.title,
        "question": question_sentence(context, predictions.classes),
        "result": result_sentence(metrics, context),
        "baseline": baseline_sentence(metrics),
        "positive_class": positive_class_sentence(metrics),
        "warning": context.warning,
        "split": context.split_name,
        "metrics": metrics.to_dict(),
        "intervals": data.intervals.to_dict(),
        "confusion": data.confusion.to_dict(),
        "photos": {
            "ids": list(predictions.ids),
            "actual": predictions.actual.tolist(),
            "predicted": predictions.predicted.tolist(),
            "confidence": [round(value, 6) for value in predictions.confidence.tolist()],
        },
        "calibration": {
            "temperature": context.temperature,
            "after": data.calibration.to_dict(),
            "before": None if data.before is None else data.before.to_dict(),
            "ece_if_calibrated": data.ece_if_calibrated,
        },
        "thresholds": [
            row._asdict() | {"interval": None if row.interval is None else list(row.interval)}
            for row in data.thresholds
        ],
        "abstention": {
            "threshold": context.threshold,
            "counts": None if context.answer_counts is None else context.answer_counts.to_dict(),
        },
        "slices": [group.to_dict() for group in data.slices],
        "label_issues": data.label_ranking.to_dict() | {"photos": [_without_row(issue) for issue in data.label_issues]},
        "mistakes": [
            _without_row(mistake) | {"nearest": [neighbor._asdict() for neighbor in neighbors]}
            for mistake, neighbors in zip(data.mistakes, data.neighbors, strict=True)
        ],
        "history": [epoch._asdict() for epoch in context.history],
        "best_epoch": context.best_epoch or None,
        "candidates": [list(row) for row in context.candidates],
        "learning_curve": None
        if context.learning_curve is None
        else context.learning_curve.to_dict() | {"sentence": context.learning_curve.sentence},
        "findings": None if context.findings is None else [finding._asdict() for finding in context.findings],
        "splits": {
            "description": context.split_description,
            "counts": {name: {**counts} for name, counts in context.split_counts.items()},
        },
        "provenance": dict(context.provenance),
    }


def _write_tables(folder: Path, data: ReportData) -> None:
    rows: list[list[Cell]] = []
    for group in data.slices:
        for part in group.slices:
            row: list[Cell] = [group.name, part.name, part.count, part.correct, part.accuracy, *part.interval]
            rows.append([*row, part.confidence, part.mistaken_for, str(part.name in group.below_average).lower()])
    header = ["property", "value", "photos", "correct", "accuracy", "accuracy_low", "accuracy_high"]
    write_csv(folder / REPORT_FILES["slices"], [*header, "confidence", "mistaken_for", "below_average"], rows)
    header = ["id", "path", "label", "suggested", "label_probability", "suggested_probability"]
    write_csv(folder / REPORT_FILES["label_issues"], header, [issue[1:] for issue in data.label_issues], exact=True)
    rows = [[*row[:5], *(row.interval or (None, None))] for row in data.thresholds]
    header = ["threshold", "answered", "coverage", "correct", "precision", "precision_low", "precision_high"]
    write_csv(folder / REPORT_FILES["thresholds"], header, rows)
    rows = [
        [name, part.low, part.high, part.count, part.correct, part.confidence, part.accuracy, *part.interval]
        for name, measured in (("before", data.before), ("after", data.calibration))
        if measured is not None
        for part in measured.bins
    ]
    header = ["calibration", "low", "high", "photos", "correct", "confidence", "accuracy"]
    write_csv(folder / REPORT_FILES["reliability"], [*header, "accuracy_low", "accuracy_high"], rows)


def _without_row(record: Any) -> dict[str, Any]:
    values: dict[str, Any] = record._asdict()
    del values["row"]
    return values
