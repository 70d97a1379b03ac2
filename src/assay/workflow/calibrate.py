"""A bundle learns how sure it may be and when to say `unknown`; all of it from photos that taught it nothing.

The temperature makes its confidence honest, a threshold keeps the wanted share of its answers right, and the
embeddings of training photos tell which photos are unlike all it has seen. Measured on the very file.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from assay.bundle import Bundle, amend_bundle
from assay.data import Dataset, Sample
from assay.evaluation import (
    CalibrationFit,
    Predictions,
    Selection,
    apply_temperature,
    choose_threshold,
    dump_curve,
    fit_calibration,
    threshold_curve,
)
from assay.evaluation.novelty_limit import novelty_limit
from assay.inference import Classifier, Novelty, fit_novelty
from assay.progress import Progress, silent
from assay.recipe import AbstainSpec
from assay.workflow.judge import judge
from assay.workflow.kept import KeptEmbeddings

_TAUGHT = 2000
_TAUGHT_A_CLASS = 20
_MOST = 5000


@dataclass(frozen=True)
class Confidence:
    """What was found out about a classifier's confidence on validation photos.

    Attributes:
        calibration: the temperature, and figures before and after.
        selection: the threshold of the confidence; None where abstaining is off.
        curve: precision and coverage at every threshold, so that another target can be chosen later.
        false_alarms: largest share of familiar photos that may be called unfamiliar; None where the
            classifier does not look for unfamiliar ones.
        taught: training photos whose embeddings tell what is familiar.
    """

    calibration: CalibrationFit
    selection: Selection | None = None
    curve: dict[str, list[float]] | None = None
    false_alarms: float | None = None
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
        if self.false_alarms is not None:
            values["novelty"] = {"false_alarms": self.false_alarms, "photos": self.taught}
        return values


def calibrate(
    path: Path,
    dataset: Dataset,
    spec: AbstainSpec,
    seed: int,
    progress: Progress = silent,
    *,
    keep: Path | None = None,
    kept: KeptEmbeddings | None = None,
) -> Confidence:
    """Fit temperature, threshold and novelty, and write them into a bundle that was written just now.

    Args:
        path: the bundle, with temperature 1 and no limits; it is replaced.
        dataset: its `val` part decides, its `train` part (at most 5,000 photos of it) tells what is familiar.
        spec: which precision is wanted, and how many false alarms are allowed.
        seed: chooses the training photos that are looked at.
        progress: told of photos judged.
        keep: where to write the training photos that were judged, for whoever needs their embeddings.
        kept: as for `judge`.

    Raises:
        AssayError: there are no validation photos, or a photo can no longer be read.
    """
    classifier = Classifier.load(path, abstain=False)
    raw = judge(classifier, dataset, dataset.part("val"), progress, kept=kept)
    novelty, taught = None, 0
    if spec.enabled:
        familiar = _familiar(dataset, seed)
        known = judge(classifier, dataset, familiar, progress, kept=kept)
        if keep is not None:
            known.save(keep)
        novelty, taught = _describe(known), len(familiar)
    confidence, novelty = fit_limits(raw, novelty, spec)
    amend_bundle(
        Bundle.open(path),
        {"temperature": confidence.calibration.temperature, "thresholds": confidence.thresholds},
        novelty=None if novelty is None else save(novelty.tensors()),
    )
    return replace(confidence, taught=taught)


def fit_limits(
    raw: Predictions, novelty: Novelty | None, spec: AbstainSpec
) -> tuple[Confidence, Novelty | None]:
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
        return Confidence(calibration, judged=raw), None
    limited = _limited(novelty, raw, spec.false_alarms)
    calibrated = replace(raw, probabilities=apply_temperature(raw.log_probabilities, calibration.temperature))
    curve = threshold_curve(calibrated.take(_passing(limited, raw)))
    selection = choose_threshold(curve, len(raw), spec.target_precision)
    alarms = None if limited is None else spec.false_alarms
    return Confidence(calibration, selection, dump_curve(curve), alarms, judged=raw), limited


def _familiar(dataset: Dataset, seed: int) -> list[Sample]:
    """Choose training photos at random, some of every class first."""
    classes = len(set(dataset.classes))
    return stratified(dataset, seed, min(_MOST, max(_TAUGHT, _TAUGHT_A_CLASS * classes)))


def stratified(dataset: Dataset, seed: int, count: int) -> list[Sample]:
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
        (first if seen[label] <= _TAUGHT_A_CLASS else others).append(row)
    return [samples[row] for row in sorted((first + others)[:count])]


def _describe(taught: Predictions) -> Novelty | None:
    """Describe familiar embeddings; None where there are too few photos to tell."""
    if taught.embedding is None or len(taught) < 2:
        return None
    return fit_novelty(taught.embedding, taught.actual)


def _limited(novelty: Novelty | None, val: Predictions, false_alarms: float) -> Novelty | None:
    if novelty is None or val.embedding is None:
        return None
    limit = novelty_limit(novelty.distance(val.embedding), false_alarms)
    return None if limit is None else novelty.with_limit(limit)


def _passing(novelty: Novelty | None, val: Predictions) -> np.ndarray:
    if novelty is None or val.embedding is None:
        return np.ones(len(val), dtype=np.bool_)
    passing: np.ndarray = novelty.score(val.embedding) <= 1
    return passing
