"""Fit a bundle's temperature, confidence threshold and novelty limit to validation images, and store them in it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from assay.bundle import Bundle, amend_bundle
from assay.core.progress import Progress, no_progress
from assay.data import Dataset, Sample
from assay.evaluation import (
    CalibrationFit,
    Predictions,
    ThresholdSelection,
    apply_temperature,
    choose_threshold,
    curve_to_dict,
    fit_calibration,
    precision_coverage_curve,
)
from assay.evaluation.selective_classification import novelty_limit
from assay.inference import Classifier, NoveltyDetector, fit_novelty
from assay.pipeline.cached_embeddings import CachedEmbeddings
from assay.pipeline.dataset_evaluation import predict_dataset
from assay.recipe import AbstainSpec

_NOVELTY_IMAGES = 2000
_NOVELTY_IMAGES_PER_CLASS = 20
_MAX_NOVELTY_IMAGES = 5000


@dataclass(frozen=True)
class ConfidenceCalibration:
    """The calibration of a classifier on validation images.

    Attributes:
        calibration: the temperature, and scores before and after.
        selection: the confidence threshold; None without abstention.
        curve: precision and coverage at every threshold, from which another target can be chosen later.
        max_false_positive_rate: of the novelty check; None without one.
        predictions: on the validation images at temperature 1.
        training: on the training images that the novelty check was fitted to; None without one.
    """

    calibration: CalibrationFit
    selection: ThresholdSelection | None = None
    curve: dict[str, list[float]] | None = None
    max_false_positive_rate: float | None = None
    predictions: Predictions | None = None
    training: Predictions | None = None

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds to store in the bundle."""
        return {} if self.selection is None else {"confidence": self.selection.threshold}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the bundle's metrics."""
        values: dict[str, Any] = {"calibration": self.calibration.to_dict()}
        if self.selection is not None:
            values["abstaining"] = {**self.selection.to_dict(), "curve": self.curve}
        if self.max_false_positive_rate is not None:
            photos = 0 if self.training is None else len(self.training)
            values["novelty"] = {"max_false_positive_rate": self.max_false_positive_rate, "photos": photos}
        return values


def calibrate_bundle(
    path: Path,
    dataset: Dataset,
    spec: AbstainSpec,
    seed: int,
    progress: Progress = no_progress,
    *,
    cached: CachedEmbeddings | None = None,
) -> ConfidenceCalibration:
    """Fit temperature, threshold and novelty limit of a newly written bundle, and store them in it.

    Args:
        path: the bundle, with temperature 1 and no thresholds; it is replaced.
        dataset: temperature and limits are fitted to its `val` split, the novelty check to at most 5,000 images of
            its `train` split.
        spec: target precision and allowed false positive rate.
        seed: of the sample of training images.
        progress: called during prediction.
        cached: as for `predict_dataset`.

    Raises:
        AssayError: there are no validation images, or an image can no longer be read.
    """
    classifier = Classifier.load(path, abstain=False)
    validation = predict_dataset(classifier, dataset, dataset.part("val"), progress, cached=cached)
    novelty, training = None, None
    if spec.enabled:
        count = max(_NOVELTY_IMAGES, _NOVELTY_IMAGES_PER_CLASS * len(dataset.classes))
        sample = sample_per_class(dataset, seed, min(_MAX_NOVELTY_IMAGES, count))
        training = predict_dataset(classifier, dataset, sample, progress, cached=cached)
        if training.embedding is not None and len(training) >= 2:
            novelty = fit_novelty(training.embedding, training.actual)
    calibration, novelty = fit_abstention(validation, novelty, spec)
    amend_bundle(
        Bundle.open(path),
        {"temperature": calibration.calibration.temperature, "thresholds": calibration.thresholds},
        novelty=None if novelty is None else save(novelty.tensors()),
    )
    return replace(calibration, training=training)


def fit_abstention(
    validation: Predictions, novelty: NoveltyDetector | None, spec: AbstainSpec
) -> tuple[ConfidenceCalibration, NoveltyDetector | None]:
    """Fit temperature, threshold and novelty limit to predictions on validation images.

    Args:
        validation: at temperature 1.
        novelty: fitted to training images, with any limit; None without one.
        spec: target precision and allowed false positive rate.

    Returns:
        The calibration, and the novelty detector with its limit; None if there are too few images for a limit.
    """
    calibration = fit_calibration(validation)
    if not spec.enabled:
        return ConfidenceCalibration(calibration, predictions=validation), None
    passing = np.ones(len(validation), dtype=np.bool_)
    if novelty is not None and validation.embedding is not None:
        limit = novelty_limit(novelty.distance(validation.embedding), spec.max_false_positive_rate)
        novelty = None if limit is None else novelty.with_limit(limit)
        if novelty is not None:
            passing = novelty.score(validation.embedding) <= 1
    else:
        novelty = None
    probabilities = apply_temperature(validation.log_probabilities, calibration.temperature)
    curve = precision_coverage_curve(replace(validation, probabilities=probabilities).take(passing))
    return (
        ConfidenceCalibration(
            calibration,
            choose_threshold(curve, len(validation), spec.target_precision),
            curve_to_dict(curve),
            None if novelty is None else spec.max_false_positive_rate,
            validation,
        ),
        novelty,
    )


def sample_per_class(dataset: Dataset, seed: int, count: int) -> list[Sample]:
    """Choose at most `count` training images at random, 20 of every class first."""
    samples = dataset.part("train")
    targets = dataset.targets(samples)
    order = np.random.default_rng(seed).permutation(len(samples))
    seen: dict[int, int] = {}
    first: list[int] = []
    others: list[int] = []
    for row in order.tolist():
        label = int(targets[row])
        seen[label] = seen.get(label, 0) + 1
        (first if seen[label] <= _NOVELTY_IMAGES_PER_CLASS else others).append(row)
    return [samples[row] for row in sorted((first + others)[:count])]
