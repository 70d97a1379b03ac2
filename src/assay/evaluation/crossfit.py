"""Whether a temperature helps, judged on photos that did not fit it.

Every validation photo is scaled by the temperature of the others, so that the figures afterwards are as
honest as those before. Where they are not clearly better, the confidence stays as it is.

Source: M. Stone, "Cross-validatory choice and assessment of statistical predictions" (1974).
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from assay.evaluation.calibration import measure_calibration
from assay.evaluation.predictions import Floats, Integers, Predictions
from assay.evaluation.temperature import apply_temperature, fit_temperature, negative_log_likelihood

FOLDS = 5
_FEWEST = 2 * FOLDS


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """How honest the confidence is, in three numbers; smaller is better.

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
    """What calibration on one set of photos gave.

    Attributes:
        temperature: what logits are to be divided by; 1 where that helps nothing.
        fitted: the temperature that fits these photos best, helpful or not.
        count: photos.
        before: figures at temperature 1.
        after: figures with every photo at the temperature of the others; equal to `before` where the
            temperature stays 1.
    """

    temperature: float
    fitted: float
    count: int
    before: CalibrationFigures
    after: CalibrationFigures

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def fit_calibration(predictions: Predictions) -> CalibrationFit:
    """Fit a temperature, and keep it only if it helps photos that did not fit it.

    Args:
        predictions: of validation photos, made at temperature 1; at least one.

    Returns:
        The temperature, to four digits, and the figures before and after.

    Raises:
        AssayError: there are no photos.
    """
    logits, actual = predictions.log_probabilities, predictions.actual
    fitted = float(f"{fit_temperature(logits, actual).value:.4g}")
    before = calibration_figures(predictions)
    kept = CalibrationFit(1.0, fitted, len(predictions), before, before)
    if len(predictions) < _FEWEST:
        return kept
    scaled = replace(predictions, probabilities=_cross_fitted(predictions))
    if not _gains(predictions, scaled):
        return kept
    return replace(kept, temperature=fitted, after=calibration_figures(scaled))


def calibration_figures(predictions: Predictions) -> CalibrationFigures:
    """Measure predictions of at least one photo."""
    known = measure_calibration(predictions)
    nll = negative_log_likelihood(predictions.log_probabilities, predictions.actual)
    return CalibrationFigures(known.ece or 0.0, known.brier or 0.0, nll)


def _gains(before: Predictions, after: Predictions) -> bool:
    """Whether the labels have become more likely, by more than chance would have it (one standard error)."""
    rows = np.arange(len(before))
    gain = (after.log_probabilities - before.log_probabilities)[rows, before.actual]
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(gain.size))


def _cross_fitted(predictions: Predictions) -> Floats:
    logits, actual = predictions.log_probabilities, predictions.actual
    scaled = np.empty_like(logits)
    fold = _folds(predictions)
    for number in range(FOLDS):
        out = fold == number
        temperature = fit_temperature(logits[~out], actual[~out]).value
        scaled[out] = apply_temperature(logits[out], temperature)
    return scaled


def _folds(predictions: Predictions) -> Integers:
    """Share photos out at random, always in the same way, with equal shares of mistakes."""
    shuffled = np.random.default_rng(0).permutation(len(predictions))
    order = shuffled[np.argsort(predictions.correct[shuffled], kind="stable")]
    fold = np.empty(len(predictions), dtype=np.int64)
    fold[order] = np.arange(len(predictions)) % FOLDS
    return fold
