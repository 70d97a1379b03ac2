"""Writes the report: the page, the JSON and its CSV tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.core.files import write_text
from assay.core.progress import Progress, no_progress
from assay.core.tables import Cell, write_csv, write_json
from assay.evaluation.metrics import Metrics
from assay.evaluation.predictions import Predictions
from assay.evaluation.report.context import ReportContext
from assay.evaluation.report.page import render_page, select_photos
from assay.evaluation.report.report_data import ReportData, collect_report_data
from assay.evaluation.report.text import baseline_sentence, positive_class_sentence, question_sentence, result_sentence
from assay.evaluation.report.thumbnails import make_thumbnails

REPORT_FORMAT = 1
"""Version of the layout of `report.json`."""


def report_to_dict(facts: ReportData, context: ReportContext) -> dict[str, Any]:
    """Return everything the page says, ready for JSON."""
    predictions, metrics = facts.predictions, facts.metrics
    return {
        "format": REPORT_FORMAT,
        "title": context.title,
        "question": question_sentence(context, predictions.classes),
        "verdict": result_sentence(metrics, context),
        "baseline": baseline_sentence(metrics),
        "looked_for": positive_class_sentence(metrics),
        "caution": context.caution,
        "part": context.part,
        "metrics": metrics.to_dict(),
        "intervals": facts.intervals.to_dict(),
        "confusion": facts.confusion.to_dict(),
        "calibration": {
            "temperature": context.temperature,
            "after": facts.calibration.to_dict(),
            "before": None if facts.before is None else facts.before.to_dict(),
        },
        "thresholds": [
            row._asdict() | {"interval": None if row.interval is None else list(row.interval)}
            for row in facts.thresholds
        ],
        "answering": {
            "threshold": context.threshold,
            "answered": None if context.answered is None else context.answered.to_dict(),
        },
        "properties": [one.to_dict() for one in facts.properties],
        "label_errors": facts.labels.to_dict() | {"photos": [_without(one, "row") for one in facts.suspects]},
        "mistakes": [
            _without(mistake, "row") | {"nearest": [one._asdict() for one in neighbours]}
            for mistake, neighbours in zip(facts.mistakes, facts.neighbours, strict=True)
        ],
        "history": [epoch._asdict() for epoch in context.history],
        "best_epoch": context.best_epoch or None,
        "check": None if context.findings is None else [one._asdict() for one in context.findings],
        "split": {"how": context.split, "photos": {name: {**one} for name, one in context.parts.items()}},
        "provenance": dict(context.provenance),
    }


def write_report_tables(folder: Path, facts: ReportData, names: Mapping[str, str]) -> None:
    """Write the report's tables into a folder; `names` gives the file of each.

    Args:
        folder: where to.
        facts: what was counted.
        names: file names of `slices`, `suspects`, `thresholds` and `reliability`.
    """
    rows: list[list[Cell]] = []
    for group in facts.properties:
        for one in group.slices:
            row: list[Cell] = [group.name, one.name, one.count, one.correct, one.accuracy, *one.interval]
            rows.append([*row, one.confidence, one.mistaken_for, str(one.name in group.outliers).lower()])
    header = ["property", "value", "photos", "right", "accuracy", "accuracy_low", "accuracy_high"]
    write_csv(folder / names["slices"], [*header, "confidence", "mistaken_for", "stands_out"], rows)
    rows = [
        [one.id, one.path, one.label, one.suggested, one.label_probability, one.suggested_probability]
        for one in facts.suspects
    ]
    header = ["id", "path", "label", "suggested", "label_probability", "suggested_probability"]
    write_csv(folder / names["suspects"], header, rows, exact=True)
    rows = [
        [
            one.threshold,
            one.answered,
            one.coverage,
            one.correct,
            one.precision,
            *(one.interval or (None, None)),
        ]
        for one in facts.thresholds
    ]
    header = ["threshold", "answered", "coverage", "right", "precision", "precision_low", "precision_high"]
    write_csv(folder / names["thresholds"], header, rows)
    rows = [
        [name, one.low, one.high, one.count, one.correct, one.confidence, one.accuracy, *one.interval]
        for name, measured in (("before", facts.before), ("after", facts.calibration))
        if measured is not None
        for one in measured.bins
    ]
    header = ["calibration", "low", "high", "photos", "right", "confidence", "accuracy"]
    write_csv(folder / names["reliability"], [*header, "accuracy_low", "accuracy_high"], rows)


def _without(row: Any, name: str) -> dict[str, Any]:
    values: dict[str, Any] = row._asdict()
    values.pop(name)
    return values


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
    progress: Progress = no_progress,
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
    facts = collect_report_data(predictions, metrics, context, progress)
    gallery = select_photos(facts, heat=context.heatmap is not None)
    pictures = make_thumbnails(gallery.wishes(), read=context.read, heatmap=context.heatmap, progress=progress)
    page = folder / REPORT_FILES["page"]
    text = render_page(facts, context, gallery, pictures)
    write_text(page, text.encode("utf-8", "replace").decode())
    write_json(folder / REPORT_FILES["json"], report_to_dict(facts, context))
    write_report_tables(folder, facts, REPORT_FILES)
    return page
