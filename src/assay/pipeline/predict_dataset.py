"""Predict the images of a labelled dataset with a bundle, and measure the confidence of the predictions."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError, UsageError
from assay.core.progress import Progress, no_progress
from assay.core.tables import join_names
from assay.data import Dataset, PixelCache, PreprocessedImages, Sample
from assay.evaluation import (
    AnswerCounts,
    CalibrationScores,
    Predictions,
    ThresholdSelection,
    apply_temperature,
    calibration_scores,
    choose_threshold,
    count_answers,
    curve_from_dict,
)
from assay.evaluation.calibration import confidence_histogram
from assay.inference import Classifier
from assay.inference.engine import ModelOutputs
from assay.inference.engine_selection import stored_precision
from assay.pipeline.cached_embeddings import CachedEmbeddings

_BATCH = 32


def predict_dataset(
    classifier: Classifier,
    dataset: Dataset,
    samples: Sequence[Sample] | None = None,
    progress: Progress = no_progress,
    *,
    kept: CachedEmbeddings | None = None,
    use_pixel_cache: bool = True,
) -> Predictions:
    """Let a classifier predict labelled photos.

    Args:
        classifier: the opened bundle.
        dataset: where the photos are from; every label must be one of the classifier's classes.
        samples: the photos; none: all of the data set.
        progress: told of every batch.
        kept: the bundle's embeddings, which answer in place of its backbone where they say the same.
        use_pixel_cache: read and store preprocessed images in the data set's pixel cache.

    Raises:
        AssayError: a label is unknown to the classifier, or a photo can no longer be read.
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
    known = None if kept is None else kept.outputs(classifier, chosen)
    cache = PixelCache(sample.digest for sample in dataset.samples) if use_pixel_cache else None
    for done, outputs in _predict_batches(classifier, chosen, cache) if known is None else ((len(chosen), known),):
        probabilities.append(classifier.probabilities(outputs))
        embeddings.append(outputs.embedding)
        progress("judging", done, len(chosen))
    has_sources = any(sample.source_label is not None for sample in chosen)
    return Predictions(
        classes=classifier.classes,
        ids=tuple(sample.id for sample in chosen),
        paths=tuple(str(sample.path) for sample in chosen),
        actual=np.array([index[sample.label] for sample in chosen], dtype=np.int64),
        probabilities=np.concatenate(probabilities) if chosen else np.empty((0, len(index))),
        embedding=np.concatenate(embeddings) if chosen else None,
        source_labels=tuple(sample.source_label or sample.label for sample in chosen) if has_sources else None,
    )


def _predict_batches(
    classifier: Classifier, samples: Sequence[Sample], cache: PixelCache | None
) -> Iterator[tuple[int, ModelOutputs]]:
    for done, squares in _read_batches(PreprocessedImages(samples, classifier.preprocess, cache)):
        yield done, classifier.outputs(squares)


def _read_batches(pixels: PreprocessedImages) -> Iterator[tuple[int, np.ndarray]]:
    """Give photos in batches, each read by threads while the one before is being judged."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        ahead = [pool.submit(pixels.__getitem__, row) for row in range(min(_BATCH, len(pixels)))]
        for start in range(0, len(pixels), _BATCH):
            batch, stop = ahead, start + len(ahead)
            ahead = [pool.submit(pixels.__getitem__, row) for row in range(stop, min(stop + _BATCH, len(pixels)))]
            yield stop, np.stack([square.result() for square in batch])


@dataclass(frozen=True)
class ConfidenceMetrics:
    """The confidence on one set of photos.

    Attributes:
        before: figures at temperature 1; None without photos.
        after: figures at the bundle's temperature; None without photos.
        threshold: least confidence that is answered; None where the classifier has none.
        answered: how many answers there are and how many are right; None where it has no limits.
        histogram: how many photos have which confidence, as `confidence_histogram` tells it; a server
            compares what it is asked with those of the validation photos.
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


def measure_confidence(
    classifier: Classifier, predictions: Predictions, threshold: float | None = None
) -> ConfidenceMetrics:
    """Measure the confidence of predictions that a classifier made.

    Args:
        classifier: who made them.
        predictions: on photos that neither taught it nor set its limits, if the figures are to mean anything.
        threshold: least confidence that is answered; none: the bundle's.
    """
    if threshold is None:
        threshold = classifier.info.thresholds.get("confidence")
    before = after = None
    if len(predictions):
        after = calibration_scores(predictions)
        raw = predictions.log_probabilities * classifier.info.temperature
        before = calibration_scores(replace(predictions, probabilities=apply_temperature(raw, 1.0)))
    histogram = confidence_histogram(predictions.confidence)
    familiar = _familiar_predictions(classifier, predictions)
    if threshold is None and familiar is None:
        return ConfidenceMetrics(before, after, None, None, histogram)
    passing = np.ones(len(predictions), dtype=np.bool_) if familiar is None else familiar
    answered = count_answers(predictions.confidence, predictions.correct, passing, threshold or 0.0)
    return ConfidenceMetrics(before, after, threshold, answered, histogram)


def reselect_threshold(classifier: Classifier, target: float) -> ThresholdSelection:
    """Choose a threshold for another precision, from what the bundle knows of its validation photos.

    Args:
        classifier: the opened bundle, which is not changed.
        target: wanted precision, between 0 and 1.

    Raises:
        UsageError: `target` is no such share, or the bundle was trained without abstaining.
    """
    if not 0 < target < 1:
        raise UsageError(f"the target precision is {target:g}: give a share between 0 and 1, such as 0.99")
    usual = classifier.info if classifier.bundle is None else classifier.bundle.info
    if stored_precision(classifier.precision) != usual.precision:
        raise UsageError(
            f"{classifier.info.name} knows how sure it was at {usual.precision} alone, so no other threshold "
            f"can be chosen at {classifier.precision}: leave out the precision or the target"
        )
    match classifier.info.metrics.get("confidence"):
        case {"abstaining": {"count": int(count), "curve": {**curve}}}:
            try:
                return choose_threshold(curve_from_dict(curve, count), count, target)
            except ValueError as error:
                raise UsageError(f"{classifier.info.name} cannot choose another threshold: {error}") from None
        case _:
            raise UsageError(
                f"{classifier.info.name} does not know how sure it was on validation photos, so no other "
                "threshold can be chosen: train it with abstain.enabled=true"
            )


def _familiar_predictions(classifier: Classifier, predictions: Predictions) -> np.ndarray | None:
    limits = classifier.abstention
    if limits is None or limits.novelty is None or predictions.embedding is None:
        return None
    familiar: np.ndarray = limits.novelty.score(predictions.embedding) <= 1
    return familiar
