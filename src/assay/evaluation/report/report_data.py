"""The content of a report as JSON: results, images and findings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from assay.core.progress import Progress, no_progress
from assay.evaluation.bootstrap import RESAMPLES, BootstrapIntervals, bootstrap_intervals
from assay.evaluation.calibration import Calibration, ece_if_calibrated, measure_calibration
from assay.evaluation.confident_learning import LabelIssues, find_label_issues
from assay.evaluation.confusion_matrix import ConfusionMatrix
from assay.evaluation.intervals import Interval, wilson_interval
from assay.evaluation.learning_curve import LearningCurve
from assay.evaluation.metrics import Metrics
from assay.evaluation.predictions import IntArray, Mistake, Predictions, ReadImage, misclassified_photos
from assay.evaluation.selective_classification import AnswerCounts, precision_coverage_curve
from assay.evaluation.slices import ImageProperties, SliceGroup, measure_images, slices_by_image_property
from assay.evaluation.temperature_scaling import apply_temperature

MakeHeatmap = Callable[[bytes, int], bytes | None]
"""Returns, for an image's bytes and a class index, an image file that shows the evidence for the class; or None."""

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Confidence thresholds of the table."""

MAX_NEIGHBORS = 3
"""Training images shown beside each mistake."""

_MAX_SIMILARITY_CELLS = 20_000_000  # similarities held at once
_VARIANCE_FLOOR = 0.1  # of a feature, as a share of the mean variance; hardly varying features are not magnified
_MAX_BOOTSTRAP_CELLS = 30_000_000  # each resample draws a whole confusion matrix


class EpochRow(NamedTuple):
    """One epoch of the training, counted from 1; accuracies 0-1."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float


class ReportFinding(NamedTuple):
    """A finding of the data audit."""

    severity: str
    """error, warning or note."""
    title: str
    """A sentence without a full stop."""
    advice: str = ""
    photos: int = 0


@dataclass(frozen=True, kw_only=True)
class ReportContext:
    """What a report shows besides the predictions. Everything is optional.

    Attributes:
        title: heading of the page.
        question: what the classifier decides, as a sentence; empty: made from the class names.
        split_name: adjective of the images (test, validation); empty: just photos.
        warning: a sentence on why the metrics may be too good; empty: none.
        history: metrics of each epoch.
        history_of_fold: whether it is the history of the first fold's network; the evaluated one was trained as long,
            on all training and validation images.
        best_epoch: the epoch whose weights were kept; 0: unknown.
        candidates: what training tried, as a table with a header; empty: training had no choice.
        learning_curve: what more training images would bring; None: not measured.
        temperature: what the logits were divided by before the softmax; if not 1, calibration is shown before
            and after.
        threshold: confidence threshold below which the classifier abstains; None: it never does.
        answer_counts: how many of these images it answers; None: it never abstains.
        training_predictions: of the training images; with embeddings on both sides, the nearest of them are
            shown beside each mistake.
        image_properties: known properties of images by id; others are measured from their files.
        read_image: returns an image's bytes; None: read from the file at its path.
        make_heatmap: None: the page has no heat maps.
        findings: of the data audit; None: the data was not audited.
        split_counts: images by split and class.
        split_description: how the images were split, in a sentence or two.
        provenance: where classifier and data come from, by name, in order.
        settings: all settings of the training as text.
    """

    title: str = "Evaluation"
    question: str = ""
    split_name: str = ""
    warning: str = ""
    history: Sequence[EpochRow] = ()
    history_of_fold: bool = False
    best_epoch: int = 0
    candidates: Sequence[Sequence[str]] = ()
    learning_curve: LearningCurve | None = None
    temperature: float = 1.0
    threshold: float | None = None
    answer_counts: AnswerCounts | None = None
    training_predictions: Predictions | None = None
    image_properties: Mapping[str, ImageProperties] = field(default_factory=dict)
    read_image: ReadImage | None = None
    make_heatmap: MakeHeatmap | None = None
    findings: Sequence[ReportFinding] | None = None
    split_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    split_description: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""


class Neighbor(NamedTuple):
    """A training image near another image."""

    id: str
    path: str
    label: str
    similarity: float
    """Cosine similarity of the standardized embeddings, -1 to 1."""


class LabelIssue(NamedTuple):
    """An image whose label is probably wrong."""

    row: int
    id: str
    path: str
    label: str
    suggested: str
    label_probability: float
    suggested_probability: float


class ThresholdRow(NamedTuple):
    """Coverage and precision at one confidence threshold."""

    threshold: float
    answered: int
    coverage: float
    correct: int
    precision: float | None
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """The computed numbers of a report.

    Attributes:
        predictions: of the evaluated images.
        metrics: of the predictions.
        intervals: bootstrap intervals of the metrics that are not proportions.
        confusion: the confusion matrix.
        mistakes: all misclassified images, the most confident first.
        neighbors: the nearest training images of each mistake; empty without embeddings.
        calibration: of the probabilities as they are.
        before: the same without temperature scaling; None where the temperature is 1.
        ece_if_calibrated: the calibration error of a perfectly calibrated classifier with the same confidences.
        thresholds: coverage and precision at some thresholds.
        slices: accuracy by image property.
        label_ranking: all labels ranked by doubt.
        label_issues: the labels that are probably wrong, the most doubtful first.
    """

    predictions: Predictions
    metrics: Metrics
    intervals: BootstrapIntervals
    confusion: ConfusionMatrix
    mistakes: tuple[Mistake, ...]
    neighbors: tuple[tuple[Neighbor, ...], ...]
    calibration: Calibration
    before: Calibration | None
    ece_if_calibrated: float | None
    thresholds: tuple[ThresholdRow, ...]
    slices: tuple[SliceGroup, ...]
    label_ranking: LabelIssues
    label_issues: tuple[LabelIssue, ...]


def collect_report_data(
    predictions: Predictions, metrics: Metrics, context: ReportContext, progress: Progress = no_progress
) -> ReportData:
    """Compute everything that the report shows and that is not in `metrics` or `context` yet."""
    mistakes = misclassified_photos(predictions)
    ranking = find_label_issues(predictions.probabilities, predictions.actual)
    rows = np.array([mistake.row for mistake in mistakes], dtype=np.int64)
    resamples = min(RESAMPLES, max(200, _MAX_BOOTSTRAP_CELLS // len(predictions.classes) ** 2))
    properties = measure_images(predictions, context.read_image, known=context.image_properties, progress=progress)
    return ReportData(
        predictions=predictions,
        metrics=metrics,
        intervals=bootstrap_intervals(predictions, metrics, resamples=resamples),
        confusion=ConfusionMatrix.from_predictions(predictions),
        mistakes=mistakes,
        neighbors=nearest_training_photos(predictions, rows, context.training_predictions, MAX_NEIGHBORS),
        calibration=measure_calibration(predictions),
        before=_before_calibration(predictions, context.temperature),
        ece_if_calibrated=ece_if_calibrated(predictions.confidence),
        thresholds=threshold_rows(predictions),
        slices=slices_by_image_property(predictions, properties),
        label_ranking=ranking,
        label_issues=_label_issues(predictions, ranking),
    )


def threshold_rows(predictions: Predictions, thresholds: Sequence[float] = THRESHOLDS) -> tuple[ThresholdRow, ...]:
    """Look up coverage and precision at the thresholds above 1/C, the lowest possible confidence."""
    curve = precision_coverage_curve(predictions)
    rows = []
    for threshold in thresholds:
        if threshold <= 1 / len(predictions.classes) or not len(predictions):
            continue
        index = int(np.searchsorted(curve.threshold, threshold, side="left"))
        answered, correct = 0, 0
        if index < len(curve.threshold):
            answered, correct = int(curve.answered[index]), int(curve.correct[index])
        precision, interval = (correct / answered, wilson_interval(correct, answered)) if answered else (None, None)
        rows.append(ThresholdRow(threshold, answered, answered / len(predictions), correct, precision, interval))
    return tuple(rows)


def nearest_training_photos(
    predictions: Predictions, rows: IntArray, training: Predictions | None, count: int = 3
) -> tuple[tuple[Neighbor, ...], ...]:
    """Find the training images with the highest cosine similarity.

    Embeddings are standardized by the mean and the standard deviations over the training images: otherwise the features
    with the largest values, which differ least, would decide.

    Args:
        predictions: of the evaluated images.
        rows: indices of R of them, int64 [R].
        training: predictions of the training images; an image is never its own neighbor.
        count: most neighbors of an image.

    Returns:
        Neighbors of each of the R images, the most similar first; empty where embeddings are missing or of
        different lengths.
    """
    own, others = predictions.embedding, None if training is None else training.embedding
    if training is None or own is None or others is None or not len(training) or own.shape[1] != others.shape[1]:
        return ((),) * len(rows)
    mean, variance = others.mean(axis=0), others.var(axis=0)
    scale = np.sqrt(np.maximum(variance + _VARIANCE_FLOOR * variance.mean(), np.finfo(np.float32).tiny))
    candidates, queries = _unit_vectors((others - mean) / scale), _unit_vectors((own[rows] - mean) / scale)
    index = {image: place for place, image in enumerate(zip(training.ids, training.paths, strict=True))}
    neighbors: list[tuple[Neighbor, ...]] = []
    step = max(1, _MAX_SIMILARITY_CELLS // len(candidates))
    for start in range(0, len(rows), step):
        for offset, similarity in enumerate(queries[start : start + step] @ candidates.T):
            row = int(rows[start + offset])
            same = index.get((predictions.ids[row], predictions.paths[row]))
            if same is not None:
                similarity[same] = -np.inf
            neighbors.append(_most_similar(similarity, training, count))
    return tuple(neighbors)


def _most_similar(similarity: npt.NDArray[np.float32], training: Predictions, count: int) -> tuple[Neighbor, ...]:
    best = np.argpartition(-similarity, min(count, similarity.size - 1))[:count]
    best = best[np.argsort(-similarity[best], kind="stable")]
    return tuple(
        Neighbor(
            training.ids[row],
            training.paths[row],
            training.classes[training.actual[row]],
            float(similarity[row]),
        )
        for row in best
        if np.isfinite(similarity[row])
    )


def _unit_vectors(embedding: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
    return np.asarray(embedding / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)


def _before_calibration(predictions: Predictions, temperature: float) -> Calibration | None:
    if temperature == 1 or not len(predictions):
        return None
    uncalibrated = apply_temperature(predictions.log_probabilities, 1 / temperature)
    return measure_calibration(replace(predictions, probabilities=uncalibrated))


def _label_issues(predictions: Predictions, ranking: LabelIssues) -> tuple[LabelIssue, ...]:
    return tuple(
        LabelIssue(
            row=int(row),
            id=predictions.ids[row],
            path=predictions.paths[row],
            label=predictions.classes[predictions.actual[row]],
            suggested=predictions.classes[ranking.suggested[row]],
            label_probability=float(predictions.probabilities[row, predictions.actual[row]]),
            suggested_probability=float(predictions.probabilities[row, ranking.suggested[row]]),
        )
        for row in ranking.rows
    )
