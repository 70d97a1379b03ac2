"""Temperature scaling: fits a temperature on validation images, and decides by cross-fitting whether it helps.

A temperature above 1 lowers the confidence, below 1 raises it; the predicted class stays the same. Every
validation image is scaled by a temperature fitted on the others, so the scores after calibration are as
unbiased as those before.

Sources: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural Networks" (2017);
M. Stone, "Cross-validatory choice and assessment of statistical predictions" (1974).
"""

from dataclasses import asdict, dataclass, replace
from math import exp, log
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from assay.core.errors import AssayError
from assay.evaluation.calibration import measure_calibration
from assay.evaluation.predictions import FloatArray, IntArray, Predictions

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
        raise AssayError("no photos to calibrate on: the validation split needs at least one photo of every class")
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
_MIN_PHOTOS = 2 * FOLDS


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


def fit_calibration(predictions: Predictions) -> CalibrationFit:
    """Fit a temperature, and keep it only if it improves the likelihood of held-out images.

    Args:
        predictions: of one or more validation images, made at temperature 1.

    Returns:
        The temperature, to four digits, and the scores before and after.

    Raises:
        AssayError: there are no images.
    """
    logits, actual = predictions.log_probabilities, predictions.actual
    fitted = float(f"{fit_temperature(logits, actual).value:.4g}")
    before = calibration_scores(predictions)
    kept = CalibrationFit(1.0, fitted, len(predictions), before, before)
    if len(predictions) < _MIN_PHOTOS:
        return kept
    scaled = replace(predictions, probabilities=_cross_fitted(predictions))
    if not _improves(predictions, scaled):
        return kept
    return replace(kept, temperature=fitted, after=calibration_scores(scaled))


def calibration_scores(predictions: Predictions) -> CalibrationScores:
    """Compute the scores of one or more images."""
    measured = measure_calibration(predictions)
    nll = negative_log_likelihood(predictions.log_probabilities, predictions.actual)
    return CalibrationScores(measured.ece or 0.0, measured.brier or 0.0, nll)


def _improves(before: Predictions, after: Predictions) -> bool:
    """Whether the mean log-likelihood increases by more than one standard error."""
    rows = np.arange(len(before))
    gain = (after.log_probabilities - before.log_probabilities)[rows, before.actual]
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(gain.size))


def _cross_fitted(predictions: Predictions) -> FloatArray:
    logits, actual = predictions.log_probabilities, predictions.actual
    scaled = np.empty_like(logits)
    fold = _folds(predictions)
    for number in range(FOLDS):
        out = fold == number
        temperature = fit_temperature(logits[~out], actual[~out]).value
        scaled[out] = apply_temperature(logits[out], temperature)
    return scaled


def _folds(predictions: Predictions) -> IntArray:
    """Assign images to folds at random (with a fixed seed), stratified by correctness."""
    shuffled = np.random.default_rng(0).permutation(len(predictions))
    order = shuffled[np.argsort(predictions.correct[shuffled], kind="stable")]
    fold = np.empty(len(predictions), dtype=np.int64)
    fold[order] = np.arange(len(predictions)) % FOLDS
    return fold
