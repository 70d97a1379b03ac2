"""Temperature scaling: fits a temperature on validation images, and decides by cross-fitting whether it helps.

A temperature above 1 lowers the confidence, below 1 raises it; the predicted class stays the same. Every
validation image is scaled by a temperature fitted on the others, so the scores after calibration are as
unbiased as those before.

Sources: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural Networks" (2017);
M. Stone, "Cross-validatory choice and assessment of statistical predictions" (1974).
"""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from math import exp, log
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from assay.core.errors import AssayError
from assay.evaluation.calibration import measure_calibration
from assay.evaluation.clusters import cluster_numbers, standard_error
from assay.evaluation.predictions import BoolArray, FloatArray, IntArray, Predictions

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
"""Limits of a fitted temperature: beyond them the images carry no information about confidence."""


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """A fitted temperature.

    Attributes:
        value: what logits are divided by, from `MIN_TEMPERATURE` to `MAX_TEMPERATURE`.
        before: mean negative log-likelihood per image at temperature 1, in nats.
        after: the same at `value`; never larger.
        at_limit: whether a limit stopped the fit; the value is then not reliable.
    """

    value: float
    before: float
    after: float
    at_limit: bool


def fit_temperature(logits: FloatArray, actual: IntArray) -> TemperatureFit:
    """Find the temperature that maximizes the likelihood of the labels.

    Fit it on validation images, which were used neither for training nor for the reported metrics. When all of
    them are classified correctly, the likelihood grows with ever more confidence: the temperature then stays at 1
    or above.

    Args:
        logits: array [N, C], finite; logarithms of probabilities serve as well, in particular
            `Predictions.log_probabilities`: multiply the result by the temperature they were made with.
        actual: int64 array [N] of class indices.

    Raises:
        AssayError: there are no images.
        ValueError: the shapes do not fit or a logit is not finite.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 2 or actual.shape != logits.shape[:1]:
        raise ValueError(f"logits of shape {logits.shape} do not fit {actual.shape} labels")
    if not np.isfinite(logits).all():
        raise ValueError("a logit is not a finite number")
    if not actual.size:
        raise AssayError(_NO_PHOTOS)
    all_correct = bool((logits.argmax(axis=1) == actual).all())
    bounds = (0.0 if all_correct else log(MIN_TEMPERATURE), log(MAX_TEMPERATURE))
    # The likelihood is concave in 1/T, so it has one optimum in log T.
    found = minimize_scalar(
        lambda x: negative_log_likelihood(logits, actual, exp(x)),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-7},
    )
    before = negative_log_likelihood(logits, actual)
    # The search stops a little short of a limit that is the optimum.
    candidates = [exp(x) for x in (float(found.x), *bounds)]
    after, value = min((negative_log_likelihood(logits, actual, value), value) for value in candidates)
    if after >= before:
        return TemperatureFit(1.0, before, before, at_limit=False)
    return TemperatureFit(value, before, after, at_limit=not 1.001 * MIN_TEMPERATURE < value < MAX_TEMPERATURE / 1.001)


def negative_log_likelihood(logits: FloatArray, actual: IntArray, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood (log-loss) of the labels in nats: logits [N, C], labels int64 [N]."""
    scores = log_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return float(-scores[np.arange(len(actual)), actual].mean())


def apply_temperature(logits: FloatArray, temperature: float) -> FloatArray:
    """Return the probabilities, float64 [N, C], of logits [N, C] at a temperature above 0."""
    return np.asarray(softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1), dtype=np.float64)


FOLDS = 5
_MIN_CLUSTERS = 2 * FOLDS
_NO_PHOTOS = "no photos to calibrate on: the validation split needs at least one photo of every class"


@dataclass(frozen=True, slots=True)
class CalibrationScores:
    """Three calibration metrics; smaller is better.

    Attributes:
        ece: expected calibration error, 15 bins of equal number, 0-1.
        brier: Brier score summed over the classes, 0-2.
        nll: mean negative log-likelihood of the labels, in nats.
    """

    ece: float
    brier: float
    nll: float


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """Result of temperature scaling on one set of images.

    Attributes:
        temperature: what logits are divided by; 1 where temperature scaling does not help.
        fitted: the temperature that fits these images best, whether it helps or not.
        count: images.
        before: scores at temperature 1.
        after: scores with every image scaled by a temperature fitted on the others; equal to `before` where
            the temperature stays 1.
    """

    temperature: float
    fitted: float
    count: int
    before: CalibrationScores
    after: CalibrationScores

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def fit_calibration(predictions: Predictions, groups: Sequence[Hashable] | None = None) -> CalibrationFit:
    """Fit a temperature, and keep it only if it improves the likelihood of held-out images.

    Images whose labelled class has probability 0, because it had no training images in their fold, count in the scores
    but not in the fit: no temperature changes their probability.

    Args:
        predictions: of one or more validation images, made at temperature 1.
        groups: the group of every image; images of a group are not independent. None: all images are.

    Returns:
        The temperature, to four digits, and the scores before and after.

    Raises:
        AssayError: there are no images.
    """
    if not len(predictions):
        raise AssayError(_NO_PHOTOS)
    clusters = cluster_numbers([None] * len(predictions) if groups is None else groups)
    possible = predictions.probabilities[np.arange(len(predictions)), predictions.actual] > 0
    before = calibration_scores(predictions)
    unchanged = CalibrationFit(1.0, 1.0, len(predictions), before, before)
    if not possible.any():
        return unchanged
    used = predictions.take(possible)
    fitted = float(f"{fit_temperature(used.log_probabilities, used.actual).value:.4g}")
    unchanged = replace(unchanged, fitted=fitted)
    if len(np.unique(clusters[possible])) < _MIN_CLUSTERS:
        return unchanged
    scaled = replace(predictions, probabilities=_cross_fitted(predictions, possible, clusters))
    if not _improves(used, scaled.take(possible), clusters[possible]):
        return unchanged
    return replace(unchanged, temperature=fitted, after=calibration_scores(scaled))


def calibration_scores(predictions: Predictions) -> CalibrationScores:
    """Compute the scores of one or more images."""
    measured = measure_calibration(predictions)
    nll = negative_log_likelihood(predictions.log_probabilities, predictions.actual)
    return CalibrationScores(measured.ece or 0.0, measured.brier or 0.0, nll)


def _improves(before: Predictions, after: Predictions, clusters: IntArray) -> bool:
    """Whether the mean log-likelihood increases by more than one standard error."""
    rows = np.arange(len(before))
    gain = (after.log_probabilities - before.log_probabilities)[rows, before.actual]
    return bool(gain.mean() > standard_error(gain, np.ones(gain.size), clusters))


def _cross_fitted(predictions: Predictions, possible: BoolArray, clusters: IntArray) -> FloatArray:
    """Return the probabilities of every image at a temperature fitted to the possible images of other folds."""
    logits, actual = predictions.log_probabilities, predictions.actual
    scaled = np.empty_like(logits)
    fold = _folds(predictions, clusters)
    for number in range(FOLDS):
        out = fold == number
        rows = ~out & possible
        temperature = fit_temperature(logits[rows], actual[rows]).value if rows.any() else 1.0
        scaled[out] = apply_temperature(logits[out], temperature)
    return scaled


def _folds(predictions: Predictions, clusters: IntArray) -> IntArray:
    """Assign images to folds at random (with a fixed seed), clusters as a whole, stratified by correctness."""
    count = int(clusters.max()) + 1
    correct = np.bincount(clusters, weights=predictions.correct) / np.bincount(clusters)
    shuffled = np.random.default_rng(0).permutation(count)
    order = shuffled[np.argsort(correct[shuffled], kind="stable")]
    fold = np.empty(count, dtype=np.int64)
    fold[order] = np.arange(count) % FOLDS
    return fold[clusters]
