"""Fit a bundle's temperature, confidence threshold and novelty limit to held-out images, and store them in it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from assay.bundle import Bundle, amend_bundle
from assay.evaluation import (
    CalibrationFit,
    Predictions,
    ThresholdSelection,
    apply_temperature,
    choose_threshold,
    curve_to_dict,
    fit_calibration,
    group_design_effect,
    precision_coverage_curve,
)
from assay.evaluation.selective_classification import novelty_limit
from assay.inference import Classifier, NoveltyDetector, fit_novelty
from assay.pipeline.held_out_predictions import HeldOut
from assay.recipe import AbstainSpec


@dataclass(frozen=True)
class ConfidenceCalibration:
    """The calibration of a classifier on held-out images.

    Attributes:
        calibration: the temperature, and scores before and after.
        selection: the confidence threshold; None without abstention.
        curve: precision and coverage at every threshold, from which another target can be chosen later.
        max_false_positive_rate: of the novelty check; None without one.
        predictions: on the held-out images at temperature 1.
        in_distribution: which of them pass the novelty check, bool [N]; None without abstention.
        training: on the training images that the novelty check was fitted to; None without one.
    """

    calibration: CalibrationFit
    selection: ThresholdSelection | None = None
    curve: dict[str, list[float]] | None = None
    max_false_positive_rate: float | None = None
    predictions: Predictions | None = None
    training: Predictions | None = None
    in_distribution: np.ndarray | None = None

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


def calibrate_bundle(path: Path, spec: AbstainSpec, held_out: HeldOut) -> ConfidenceCalibration:
    """Fit temperature, threshold and novelty limit of a newly written bundle, and store them in it.

    Args:
        path: the bundle, with temperature 1 and no thresholds; it is replaced.
        spec: target precision and allowed false positive rate.
        held_out: temperature and limits are fitted to its held-out images, the novelty check to its training images.

    Raises:
        AssayError: there are no held-out images, or an image can no longer be read.
    """
    classifier = Classifier.load(path, abstain=False)
    predictions = held_out.predictions(classifier)
    novelty, training = None, None
    if spec.enabled:
        training = held_out.training(classifier)
        if training.embedding is not None and len(training) >= 2:
            novelty = fit_novelty(training.embedding, training.actual)
    calibration, novelty = fit_abstention(predictions, novelty, spec, held_out)
    amend_bundle(
        Bundle.open(path),
        {"temperature": calibration.calibration.temperature, "thresholds": calibration.thresholds},
        novelty=None if novelty is None else save(novelty.tensors()),
    )
    return replace(calibration, training=training)


def fit_abstention(
    predictions: Predictions, novelty: NoveltyDetector | None, spec: AbstainSpec, held_out: HeldOut
) -> tuple[ConfidenceCalibration, NoveltyDetector | None]:
    """Fit temperature, threshold and novelty limit to predictions on held-out images.

    Args:
        predictions: at temperature 1.
        novelty: fitted to training images, with any limit; None without one.
        spec: target precision and allowed false positive rate.
        held_out: made the predictions.

    Returns:
        The calibration, and the novelty detector with its limit; None if there are too few images for a limit.
    """
    calibration = fit_calibration(predictions, held_out.groups)
    if not spec.enabled:
        return ConfidenceCalibration(calibration, predictions=predictions), None
    in_distribution = np.ones(len(predictions), dtype=np.bool_)
    if novelty is not None:
        distances = held_out.distances(novelty, predictions)
        limit = novelty_limit(distances, spec.max_false_positive_rate, group_design_effect(held_out.groups))
        novelty = None if limit is None else novelty.with_limit(limit)
        if limit is not None:
            in_distribution = distances <= limit
    probabilities = apply_temperature(predictions.log_probabilities, calibration.temperature)
    curve = precision_coverage_curve(replace(predictions, probabilities=probabilities).take(in_distribution))
    return (
        ConfidenceCalibration(
            calibration,
            choose_threshold(curve, len(predictions), spec.target_precision, group_design_effect(held_out.groups)),
            curve_to_dict(curve),
            None if novelty is None else spec.max_false_positive_rate,
            predictions,
            in_distribution=in_distribution,
        ),
        novelty,
    )
