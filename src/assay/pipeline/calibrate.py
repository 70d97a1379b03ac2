"""Fit a bundle's temperature, confidence threshold and novelty limit to validation images.

Store them in it.
"""

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
from assay.pipeline.predict_dataset import predict_dataset
from assay.recipe import AbstainSpec

_NOVELTY_IMAGES = 2000
_NOVELTY_IMAGES_PER_CLASS = 20
_MAX_NOVELTY_IMAGES = 5000


@dataclass(frozen=True)
class ConfidenceCalibration:
    """What was found out about a classifier's confidence on validation photos.

    Attributes:
        calibration: the temperature, and figures before and after.
        selection: the threshold of the confidence; None where abstaining is off.
        curve: precision and coverage at every threshold, so that another target can be chosen later.
        max_false_positive_rate: largest share of familiar photos that may be called unfamiliar; None where the
            classifier does not look for unfamiliar ones.
        taught: training photos whose embeddings tell what is familiar.
    """

    calibration: CalibrationFit
    selection: ThresholdSelection | None = None
    curve: dict[str, list[float]] | None = None
    max_false_positive_rate: float | None = None
    taught: int = 0
    judged: Predictions | None = None
    """What was said of the validation photos at temperature 1."""

    @property
    def thresholds(self) -> dict[str, float]:
        """What a bundle holds of the selection."""
        return {} if self.selection is None else {"confidence": self.selection.threshold}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the bundle's metrics."""
        values: dict[str, Any] = {"calibration": self.calibration.to_dict()}
        if self.selection is not None:
            values["abstaining"] = {**self.selection.to_dict(), "curve": self.curve}
        if self.max_false_positive_rate is not None:
            values["novelty"] = {"max_false_positive_rate": self.max_false_positive_rate, "photos": self.taught}
        return values


def calibrate_bundle(
    path: Path,
    dataset: Dataset,
    spec: AbstainSpec,
    seed: int,
    progress: Progress = no_progress,
    *,
    keep: Path | None = None,
    kept: CachedEmbeddings | None = None,
) -> ConfidenceCalibration:
    """Fit temperature, threshold and novelty, and write them into a bundle that was written just now.

    Args:
        path: the bundle, with temperature 1 and no limits; it is replaced.
        dataset: its `val` part decides, its `train` part (at most 5,000 photos of it) tells what is familiar.
        spec: which precision is wanted, and how many false alarms are allowed.
        seed: chooses the training photos that are looked at.
        progress: told of photos judged.
        keep: where to write the training photos that were judged, for whoever needs their embeddings.
        kept: as for `predict_dataset`.

    Raises:
        AssayError: there are no validation photos, or a photo can no longer be read.
    """
    classifier = Classifier.load(path, abstain=False)
    raw = predict_dataset(classifier, dataset, dataset.part("val"), progress, kept=kept)
    novelty, taught = None, 0
    if spec.enabled:
        familiar = _sample_training(dataset, seed)
        known = predict_dataset(classifier, dataset, familiar, progress, kept=kept)
        if keep is not None:
            known.save(keep)
        novelty, taught = _fit_novelty(known), len(familiar)
    confidence, novelty = fit_abstention(raw, novelty, spec)
    amend_bundle(
        Bundle.open(path),
        {"temperature": confidence.calibration.temperature, "thresholds": confidence.thresholds},
        novelty=None if novelty is None else save(novelty.tensors()),
    )
    return replace(confidence, taught=taught)


def fit_abstention(
    raw: Predictions, novelty: NoveltyDetector | None, spec: AbstainSpec
) -> tuple[ConfidenceCalibration, NoveltyDetector | None]:
    """Fit temperature and limits to what a model said of validation photos.

    Args:
        raw: at temperature 1.
        novelty: what familiar embeddings look like, with any limit; None where that is not known.
        spec: which precision is wanted, and how many false alarms are allowed.

    Returns:
        What was found, and the novelty with its limit; None where there are too few photos to find one.
    """
    calibration = fit_calibration(raw)
    if not spec.enabled:
        return ConfidenceCalibration(calibration, judged=raw), None
    limited = _limit_novelty(novelty, raw, spec.max_false_positive_rate)
    calibrated = replace(raw, probabilities=apply_temperature(raw.log_probabilities, calibration.temperature))
    curve = precision_coverage_curve(calibrated.take(_familiar_mask(limited, raw)))
    selection = choose_threshold(curve, len(raw), spec.target_precision)
    alarms = None if limited is None else spec.max_false_positive_rate
    return ConfidenceCalibration(calibration, selection, curve_to_dict(curve), alarms, judged=raw), limited


def _sample_training(dataset: Dataset, seed: int) -> list[Sample]:
    """Choose training photos at random, some of every class first."""
    classes = len(set(dataset.classes))
    return sample_per_class(
        dataset, seed, min(_MAX_NOVELTY_IMAGES, max(_NOVELTY_IMAGES, _NOVELTY_IMAGES_PER_CLASS * classes))
    )


def sample_per_class(dataset: Dataset, seed: int, count: int) -> list[Sample]:
    """Choose training photos at random, at most `count`, 20 of every class first."""
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


def _fit_novelty(taught: Predictions) -> NoveltyDetector | None:
    """Describe familiar embeddings; None where there are too few photos to tell."""
    if taught.embedding is None or len(taught) < 2:
        return None
    return fit_novelty(taught.embedding, taught.actual)


def _limit_novelty(
    novelty: NoveltyDetector | None, val: Predictions, max_false_positive_rate: float
) -> NoveltyDetector | None:
    if novelty is None or val.embedding is None:
        return None
    limit = novelty_limit(novelty.distance(val.embedding), max_false_positive_rate)
    return None if limit is None else novelty.with_limit(limit)


def _familiar_mask(novelty: NoveltyDetector | None, val: Predictions) -> np.ndarray:
    if novelty is None or val.embedding is None:
        return np.ones(len(val), dtype=np.bool_)
    passing: np.ndarray = novelty.score(val.embedding) <= 1
    return passing
