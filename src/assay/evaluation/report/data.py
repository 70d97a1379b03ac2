"""A report as plain values for programs, and its tables as CSV: what the page says, without its pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.evaluation.report.context import ReportContext
from assay.evaluation.report.facts import Facts
from assay.evaluation.report.words import baseline, looked_for, question, verdict
from assay.safe_csv import Cell
from assay.tables import write_csv

FORMAT = 1
"""Version of the layout of `report.json`."""


def to_dict(facts: Facts, context: ReportContext) -> dict[str, Any]:
    """Return everything the page says, ready for JSON."""
    predictions, metrics = facts.predictions, facts.metrics
    return {
        "format": FORMAT,
        "title": context.title,
        "question": question(context, predictions.classes),
        "verdict": verdict(metrics, context),
        "baseline": baseline(metrics),
        "looked_for": looked_for(metrics),
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


def write_tables(folder: Path, facts: Facts, names: Mapping[str, str]) -> None:
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
