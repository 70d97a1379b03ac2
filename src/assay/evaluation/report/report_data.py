"""Everything a report shows in numbers, computed once for the page, the JSON and the tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from assay.core.progress import Progress, no_progress
from assay.evaluation.bootstrap import RESAMPLES, BootstrapIntervals, bootstrap_intervals
from assay.evaluation.calibration import Calibration, measure_calibration
from assay.evaluation.confident_learning import LabelIssues, find_label_issues
from assay.evaluation.confusion_matrix import ConfusionMatrix
from assay.evaluation.intervals import Interval, wilson_interval
from assay.evaluation.metrics import Metrics
from assay.evaluation.predictions import IntArray, Mistake, Predictions, misclassified_photos
from assay.evaluation.report.context import ReportContext
from assay.evaluation.report.image_slices import SliceGroup, slices_by_image_property
from assay.evaluation.selective_classification import precision_coverage_curve
from assay.evaluation.temperature_scaling import apply_temperature

_MAX_SIMILARITY_CELLS = 20_000_000  # similarities held at once


class Neighbor(NamedTuple):
    """A training photo near another photo."""

    id: str
    path: str
    label: str
    similarity: float
    """Cosine of the angle between the embeddings, -1 to 1."""


def nearest_training_photos(
    predictions: Predictions, rows: IntArray, training: Predictions | None, count: int = 3
) -> tuple[tuple[Neighbor, ...], ...]:
    """Find the training photos whose embeddings point most nearly the same way.

    Args:
        predictions: the photos looked at.
        rows: which of them, int64 [R].
        training: the training photos; a photo is never its own neighbour.
        count: most neighbours of a photo.

    Returns:
        Neighbours of each of the R photos, the most similar first; none at all where embeddings are missing
        or of different lengths.
    """
    if training is None or not len(training) or not _comparable(predictions, training):
        return ((),) * len(rows)
    units, asked = _unit_vectors(training.embedding), _unit_vectors(predictions.embedding)[rows]
    places = {known: place for place, known in enumerate(zip(training.ids, training.paths, strict=True))}
    found: list[tuple[Neighbor, ...]] = []
    step = max(1, _MAX_SIMILARITY_CELLS // len(units))
    for start in range(0, len(rows), step):
        similarity = asked[start : start + step] @ units.T
        for offset, line in enumerate(similarity):
            row = int(rows[start + offset])
            own = places.get((predictions.ids[row], predictions.paths[row]))
            if own is not None:
                line[own] = -np.inf
            found.append(_most_similar(line, training, count))
    return tuple(found)


def _most_similar(similarity: npt.NDArray[np.float32], training: Predictions, count: int) -> tuple[Neighbor, ...]:
    best = np.argpartition(-similarity, min(count, similarity.size - 1))[:count]
    best = best[np.argsort(-similarity[best], kind="stable")]
    return tuple(
        Neighbor(
            training.ids[place],
            training.paths[place],
            training.classes[training.actual[place]],
            float(similarity[place]),
        )
        for place in best
        if np.isfinite(similarity[place])
    )


def _comparable(one: Predictions, other: Predictions) -> bool:
    if one.embedding is None or other.embedding is None:
        return False
    return bool(one.embedding.shape[1] == other.embedding.shape[1])


def _unit_vectors(embedding: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32]:
    rows = np.asarray(embedding, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Least confidences of the threshold table."""

MAX_NEIGHBORS = 3
"""Training photos beside each mistake."""

_MAX_BOOTSTRAP_CELLS = 30_000_000


class LabelIssue(NamedTuple):
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
class ReportData:
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
    confusion: ConfusionMatrix
    mistakes: tuple[Mistake, ...]
    neighbours: tuple[tuple[Neighbor, ...], ...]
    calibration: Calibration
    before: Calibration | None
    thresholds: tuple[ThresholdRow, ...]
    properties: tuple[SliceGroup, ...]
    labels: LabelIssues
    suspects: tuple[LabelIssue, ...]


def collect_report_data(
    predictions: Predictions, metrics: Metrics, context: ReportContext, progress: Progress = no_progress
) -> ReportData:
    """Count everything."""
    mistakes = misclassified_photos(predictions)
    labels = find_label_issues(predictions.probabilities, predictions.actual)
    rows = np.array([one.row for one in mistakes], dtype=np.int64)
    return ReportData(
        predictions=predictions,
        metrics=metrics,
        intervals=bootstrap_intervals(predictions, resamples=_resamples(len(predictions.classes))),
        confusion=ConfusionMatrix.of(predictions),
        mistakes=mistakes,
        neighbours=nearest_training_photos(predictions, rows, context.training, MAX_NEIGHBORS),
        calibration=measure_calibration(predictions),
        before=_before_calibration(predictions, context.temperature),
        thresholds=threshold_rows(predictions),
        properties=slices_by_image_property(predictions, context.read, progress=progress),
        labels=labels,
        suspects=_label_issues(predictions, labels),
    )


def threshold_rows(predictions: Predictions, thresholds: Sequence[float] = THRESHOLDS) -> tuple[ThresholdRow, ...]:
    """Look up precision and coverage at least confidences that lie above the lowest possible one."""
    curve = precision_coverage_curve(predictions)
    rows = []
    for threshold in thresholds:
        if threshold <= 1 / len(predictions.classes) or not len(predictions):
            continue
        place = int(np.searchsorted(curve.threshold, threshold, side="left"))
        some = place < len(curve.threshold)
        answered, correct = (int(curve.answered[place]), int(curve.correct[place])) if some else (0, 0)
        precision, interval = (correct / answered, wilson_interval(correct, answered)) if answered else (None, None)
        rows.append(ThresholdRow(threshold, answered, answered / len(predictions), correct, precision, interval))
    return tuple(rows)


def _resamples(classes: int) -> int:
    """As many as seconds allow: each draws a whole confusion matrix."""
    return min(RESAMPLES, max(200, _MAX_BOOTSTRAP_CELLS // classes**2))


def _before_calibration(predictions: Predictions, temperature: float) -> Calibration | None:
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


def _label_issues(predictions: Predictions, labels: LabelIssues) -> tuple[LabelIssue, ...]:
    return tuple(
        LabelIssue(
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
