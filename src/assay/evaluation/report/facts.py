"""Everything a report says in numbers, counted once: page, JSON and tables are three views of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from assay.evaluation.bootstrap import RESAMPLES, BootstrapIntervals, bootstrap_intervals
from assay.evaluation.calibration import Calibration, measure_calibration
from assay.evaluation.confusion import Confusion
from assay.evaluation.intervals import Interval, wilson
from assay.evaluation.label_errors import LabelSuspects, label_suspects
from assay.evaluation.metrics import Metrics
from assay.evaluation.misclassified import Mistake, misclassified
from assay.evaluation.predictions import Predictions
from assay.evaluation.report.context import ReportContext
from assay.evaluation.report.nearest import Neighbour, nearest
from assay.evaluation.report.properties import Property, properties
from assay.evaluation.temperature import apply_temperature
from assay.evaluation.threshold import threshold_curve
from assay.progress import Progress, silent

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Least confidences of the threshold table."""

NEIGHBOURS = 3
"""Training photos beside each mistake."""

_CELLS = 30_000_000


class Suspect(NamedTuple):
    """A photo whose label is doubtful."""

    row: int
    id: str
    path: str
    label: str
    suggested: str
    label_probability: float
    suggested_probability: float


class ThresholdRow(NamedTuple):
    """What is answered, and how well, when only photos at least so sure are."""

    threshold: float
    answered: int
    coverage: float
    correct: int
    precision: float | None
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was counted.

    Attributes:
        predictions: of the photos judged.
        metrics: counted on them.
        intervals: of the numbers that are no plain shares.
        confusion: which class was taken for which.
        mistakes: all misclassified photos, the most confident first.
        neighbours: the nearest training photos of each mistake; empty without embeddings.
        calibration: of the probabilities as they are.
        before: of the same photos without temperature; none where it is 1.
        thresholds: precision and coverage at some least confidences.
        properties: accuracy by what the photos are like.
        labels: ranking of all labels by doubt.
        suspects: the doubtful ones, first the most doubtful.
    """

    predictions: Predictions
    metrics: Metrics
    intervals: BootstrapIntervals
    confusion: Confusion
    mistakes: tuple[Mistake, ...]
    neighbours: tuple[tuple[Neighbour, ...], ...]
    calibration: Calibration
    before: Calibration | None
    thresholds: tuple[ThresholdRow, ...]
    properties: tuple[Property, ...]
    labels: LabelSuspects
    suspects: tuple[Suspect, ...]


def gather(
    predictions: Predictions, metrics: Metrics, context: ReportContext, progress: Progress = silent
) -> Facts:
    """Count everything."""
    mistakes = misclassified(predictions)
    labels = label_suspects(predictions.probabilities, predictions.actual)
    rows = np.array([one.row for one in mistakes], dtype=np.int64)
    return Facts(
        predictions=predictions,
        metrics=metrics,
        intervals=bootstrap_intervals(predictions, resamples=_resamples(len(predictions.classes))),
        confusion=Confusion.of(predictions),
        mistakes=mistakes,
        neighbours=nearest(predictions, rows, context.training, NEIGHBOURS),
        calibration=measure_calibration(predictions),
        before=_uncalibrated(predictions, context.temperature),
        thresholds=threshold_rows(predictions),
        properties=properties(predictions, context.read, progress=progress),
        labels=labels,
        suspects=_suspects(predictions, labels),
    )


def threshold_rows(
    predictions: Predictions, thresholds: Sequence[float] = THRESHOLDS
) -> tuple[ThresholdRow, ...]:
    """Look up precision and coverage at least confidences that lie above the lowest possible one."""
    curve = threshold_curve(predictions)
    rows = []
    for threshold in thresholds:
        if threshold <= 1 / len(predictions.classes) or not len(predictions):
            continue
        place = int(np.searchsorted(curve.threshold, threshold, side="left"))
        some = place < len(curve.threshold)
        answered, correct = (int(curve.answered[place]), int(curve.correct[place])) if some else (0, 0)
        precision, interval = (correct / answered, wilson(correct, answered)) if answered else (None, None)
        rows.append(
            ThresholdRow(threshold, answered, answered / len(predictions), correct, precision, interval)
        )
    return tuple(rows)


def _resamples(classes: int) -> int:
    """As many as seconds allow: each draws a whole confusion matrix."""
    return min(RESAMPLES, max(200, _CELLS // classes**2))


def _uncalibrated(predictions: Predictions, temperature: float) -> Calibration | None:
    if temperature == 1 or not len(predictions):
        return None
    probabilities = apply_temperature(predictions.log_probabilities, 1 / temperature)
    return measure_calibration(
        Predictions(
            classes=predictions.classes,
            ids=predictions.ids,
            paths=predictions.paths,
            actual=predictions.actual,
            probabilities=probabilities,
        )
    )


def _suspects(predictions: Predictions, labels: LabelSuspects) -> tuple[Suspect, ...]:
    return tuple(
        Suspect(
            row=int(row),
            id=predictions.ids[row],
            path=predictions.paths[row],
            label=predictions.classes[predictions.actual[row]],
            suggested=predictions.classes[labels.suggested[row]],
            label_probability=float(predictions.probabilities[row, predictions.actual[row]]),
            suggested_probability=float(predictions.probabilities[row, labels.suggested[row]]),
        )
        for row in labels.rows
    )
