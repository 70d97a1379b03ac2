"""Predict the images of a labelled dataset with a bundle, and measure metrics and confidence of the predictions."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError, UsageError
from assay.core.progress import Progress, no_progress
from assay.core.tables import write_json
from assay.core.text_layout import join_names
from assay.data import Dataset, PixelCache, PreprocessedImages, Sample
from assay.evaluation import (
    AnswerCounts,
    CalibrationScores,
    Metrics,
    Predictions,
    ThresholdSelection,
    apply_temperature,
    calibration_scores,
    choose_threshold,
    compute_metrics,
    count_answers,
    curve_from_dict,
    write_evaluation,
)
from assay.evaluation.calibration import confidence_histogram
from assay.evaluation.predictions import ReadImage
from assay.inference import Classifier, ModelOutputs
from assay.inference.engine_selection import stored_precision
from assay.pipeline.cached_embeddings import CachedEmbeddings

_BATCH = 32


def predict_dataset(
    classifier: Classifier,
    dataset: Dataset,
    samples: Sequence[Sample] | None = None,
    progress: Progress = no_progress,
    *,
    cached: CachedEmbeddings | None = None,
    use_pixel_cache: bool = True,
) -> Predictions:
    """Predict labelled images.

    Args:
        classifier: the opened bundle.
        dataset: every label must be one of the classifier's classes.
        samples: images of the dataset; None: all.
        progress: called after every batch.
        cached: cached embeddings of the bundle's backbone, used where they agree with the bundle.
        use_pixel_cache: read and store preprocessed images in the pixel cache of the dataset.

    Raises:
        AssayError: a label is unknown to the classifier, or an image can no longer be read.
    """
    chosen = dataset.samples if samples is None else tuple(samples)
    index = {name: place for place, name in enumerate(classifier.classes)}
    unknown = sorted({sample.label for sample in chosen} - index.keys())
    if unknown:
        raise AssayError(
            f"{dataset.root} has photos labelled {unknown[0]!r}, which the classifier does not know: "
            f"its classes are {join_names(classifier.classes)}"
        )
    probabilities, embeddings = [], []
    known = None if cached is None else cached.outputs(classifier, chosen)
    pixels = PixelCache(sample.digest for sample in dataset.samples) if use_pixel_cache else None
    for done, outputs in _predict_batches(classifier, chosen, pixels) if known is None else ((len(chosen), known),):
        probabilities.append(classifier.probabilities(outputs))
        embeddings.append(outputs.embedding)
        progress("evaluating", done, len(chosen))
    return labelled_predictions(
        classifier.classes,
        chosen,
        np.concatenate(probabilities) if chosen else np.empty((0, len(index))),
        np.concatenate(embeddings) if chosen else None,
    )


def labelled_predictions(
    classes: Sequence[str], samples: Sequence[Sample], probabilities: np.ndarray, embeddings: np.ndarray | None
) -> Predictions:
    """Return predictions with the ids, paths and labels of the images.

    Args:
        classes: in the order of the probabilities; the labels of the images are among them.
        samples: N images.
        probabilities: float64 [N, C].
        embeddings: float32 [N, D], or None.
    """
    index = {name: place for place, name in enumerate(classes)}
    has_sources = any(sample.source_label is not None for sample in samples)
    return Predictions(
        classes=tuple(classes),
        ids=tuple(sample.id for sample in samples),
        paths=tuple(str(sample.path) for sample in samples),
        actual=np.array([index[sample.label] for sample in samples], dtype=np.int64),
        probabilities=probabilities,
        embedding=embeddings,
        source_labels=tuple(sample.source_label or sample.label for sample in samples) if has_sources else None,
    )


def _predict_batches(
    classifier: Classifier, samples: Sequence[Sample], cache: PixelCache | None
) -> Iterator[tuple[int, ModelOutputs]]:
    """Yield the number of images done and the outputs of a batch; threads read the next batch meanwhile."""
    pixels = PreprocessedImages(samples, classifier.preprocess, cache)
    with ThreadPoolExecutor(cpu_count()) as pool:
        pending = [pool.submit(pixels.__getitem__, row) for row in range(min(_BATCH, len(pixels)))]
        for start in range(0, len(pixels), _BATCH):
            batch, stop = pending, start + len(pending)
            pending = [pool.submit(pixels.__getitem__, row) for row in range(stop, min(stop + _BATCH, len(pixels)))]
            yield stop, classifier.outputs(np.stack([image.result() for image in batch]))


@dataclass(frozen=True)
class ConfidenceMetrics:
    """The confidence of a classifier on one set of images.

    Attributes:
        before: calibration at temperature 1; None without images.
        after: calibration at the bundle's temperature; None without images.
        threshold: confidence below which the classifier abstains; None if it has no threshold.
        answered: number of answers and of correct ones; None if the classifier never abstains.
        histogram: see `confidence_histogram`; a server compares the confidence of its requests with that of the
            validation images.
    """

    before: CalibrationScores | None
    after: CalibrationScores | None
    threshold: float | None
    answered: AnswerCounts | None
    histogram: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "before": None if self.before is None else asdict(self.before),
            "after": None if self.after is None else asdict(self.after),
            "threshold": self.threshold,
            "answered": None if self.answered is None else self.answered.to_dict(),
            "histogram": self.histogram,
        }


@dataclass(frozen=True)
class Evaluation:
    """Predictions on labelled images, and their metrics."""

    predictions: Predictions
    metrics: Metrics
    confidence: ConfidenceMetrics

    def write(
        self, folder: Path, *, figures: bool = True, read: ReadImage | None = None, progress: Progress = no_progress
    ) -> dict[str, Path]:
        """Write predictions, metrics, tables and figures; return the paths by name.

        Args:
            folder: output folder; files of an earlier evaluation are replaced.
            figures: whether figures are drawn, which takes most of the time.
            read: returns an image's bytes; None: read from the file at its path.
            progress: called for every figure.
        """
        files = write_evaluation(folder, self.predictions, self.metrics, figures=figures, read=read, progress=progress)
        files["confidence"] = folder / "confidence.json"
        write_json(files["confidence"], self.confidence.to_dict())
        return files


def evaluate_samples(
    classifier: Classifier,
    dataset: Dataset,
    samples: Sequence[Sample],
    positive_class: str | None,
    *,
    threshold: float | None = None,
    cached: CachedEmbeddings | None = None,
    use_pixel_cache: bool = True,
    progress: Progress = no_progress,
) -> Evaluation:
    """Predict labelled images and measure metrics and confidence.

    Args:
        classifier: the opened bundle.
        dataset: every label must be one of the classifier's classes.
        samples: images of the dataset.
        positive_class: see `compute_metrics`.
        threshold: confidence below which the classifier abstains; None: that of the bundle.
        cached: as for `predict_dataset`.
        use_pixel_cache: as for `predict_dataset`.
        progress: called after every batch.

    Raises:
        AssayError: a label is unknown to the classifier, or an image can no longer be read.
    """
    predictions = predict_dataset(
        classifier, dataset, samples, progress, cached=cached, use_pixel_cache=use_pixel_cache
    )
    return evaluate_predictions(classifier, predictions, positive_class, threshold=threshold)


def evaluate_predictions(
    classifier: Classifier,
    predictions: Predictions,
    positive_class: str | None,
    *,
    threshold: float | None = None,
    in_distribution: np.ndarray | None = None,
) -> Evaluation:
    """Measure metrics and confidence of a classifier's predictions.

    Args:
        classifier: the classifier of the predictions.
        predictions: at the bundle's temperature.
        positive_class: see `compute_metrics`.
        threshold: as for `measure_confidence`.
        in_distribution: as for `measure_confidence`.
    """
    confidence = measure_confidence(classifier, predictions, threshold, in_distribution)
    return Evaluation(predictions, compute_metrics(predictions, positive_class), confidence)


def measure_confidence(
    classifier: Classifier,
    predictions: Predictions,
    threshold: float | None = None,
    in_distribution: np.ndarray | None = None,
) -> ConfidenceMetrics:
    """Measure calibration and coverage of a classifier's predictions.

    Args:
        classifier: the classifier of the predictions.
        predictions: on images that were used neither for training nor for calibration, else the metrics are
            too good.
        threshold: confidence below which the classifier abstains; None: that of the bundle.
        in_distribution: which images pass the novelty check, bool [N]; None: as the bundle decides.
    """
    if threshold is None:
        threshold = classifier.info.thresholds.get("confidence")
    before = after = None
    if len(predictions):
        after = calibration_scores(predictions)
        raw = predictions.log_probabilities * classifier.info.temperature
        before = calibration_scores(replace(predictions, probabilities=apply_temperature(raw, 1.0)))
    histogram = confidence_histogram(predictions.confidence)
    if in_distribution is None:
        in_distribution = _in_distribution(classifier, predictions)
    if threshold is None and in_distribution is None:
        return ConfidenceMetrics(before, after, None, None, histogram)
    passing = np.ones(len(predictions), dtype=np.bool_) if in_distribution is None else in_distribution
    answered = count_answers(predictions.confidence, predictions.correct, passing, threshold or 0.0)
    return ConfidenceMetrics(before, after, threshold, answered, histogram)


def _in_distribution(classifier: Classifier, predictions: Predictions) -> np.ndarray | None:
    """Return which images pass the novelty check; None if the classifier has none."""
    policy = classifier.abstention
    if policy is None or policy.novelty is None or predictions.embedding is None:
        return None
    in_distribution: np.ndarray = policy.novelty.score(predictions.embedding) <= 1
    return in_distribution


def reselect_threshold(classifier: Classifier, target: float) -> ThresholdSelection:
    """Choose the threshold for another target precision from the curve stored in the bundle.

    Args:
        classifier: the opened bundle, which is not changed.
        target: target precision, between 0 and 1.

    Raises:
        UsageError: `target` is outside (0, 1), or the bundle was trained without abstention.
    """
    name = classifier.info.name
    if not 0 < target < 1:
        raise UsageError(f"the target precision is {target:g}: give a share between 0 and 1, such as 0.99")
    default = classifier.info if classifier.bundle is None else classifier.bundle.info
    if stored_precision(classifier.precision) != default.precision:
        raise UsageError(
            f"{name} stores its confidence on validation photos for {default.precision} only, so no other threshold "
            f"can be chosen at {classifier.precision}: leave out --precision or the target precision"
        )
    match classifier.info.metrics.get("confidence"):
        case {"abstaining": {"count": int(count), "curve": {**curve}, **others}}:
            effect = others.get("design_effect", 1.0)
            if not isinstance(effect, float | int) or not 1 <= effect <= count:
                raise UsageError(f"{name} cannot choose another threshold: its design effect is {effect!r}")
            try:
                return choose_threshold(curve_from_dict(curve, count), count, target, float(effect))
            except ValueError as error:
                raise UsageError(f"{name} cannot choose another threshold: {error}") from None
        case _:
            raise UsageError(
                f"{name} does not store its confidence on validation photos, so no other threshold can be chosen: "
                "train it with abstain.enabled=true"
            )
