"""Calibration of the confidence: of the images with 90 % confidence, nine in ten should be classified correctly.

This module measures it; `temperature_scaling` improves it.

Sources: G. W. Brier, "Verification of forecasts expressed in terms of probability" (1950); M. P. Naeini,
G. F. Cooper and M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning" (2015), for
the expected calibration error; K. Nguyen and B. O'Connor, "Posterior calibration and exploratory analysis for
natural language processing models" (2015), for bins of equal mass; J. Bröcker and L. A. Smith, "Increasing the
Reliability of Reliability Diagrams" (2007), for what a perfectly calibrated classifier shows on as many images.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.evaluation.intervals import Interval, wilson_interval
from assay.evaluation.predictions import BoolArray, FloatArray, IntArray, Predictions

BINS = 15
"""Default number of bins of a reliability table."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images of similar confidence.

    Attributes:
        low: smallest confidence among them.
        high: largest confidence among them.
        count: images; at least 1.
        correct: correctly classified images.
        confidence: mean confidence.
        accuracy: `correct / count`; equal to `confidence` if calibration is perfect.
        interval: Wilson interval of the accuracy.
    """

    low: float
    high: float
    count: int
    correct: int
    confidence: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration on one set of images.

    Attributes:
        count: images.
        ece: expected calibration error, 0-1: the mean over images of |accuracy - confidence| of their bin; None
            without images. It is biased upwards on few images; see `ece_if_calibrated`.
        brier: mean over images of the squared distance between the probabilities and the one-hot label, summed over
            all classes, 0-2 (Brier's original definition; for two classes twice that of scikit-learn); None without
            images.
        bins: the reliability table, lowest confidence first.
    """

    count: int
    ece: float | None
    brier: float | None
    bins: tuple[ReliabilityBin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, numbers and None, ready for JSON."""
        names = ("low", "high", "count", "correct", "confidence", "accuracy")
        table = [{name: getattr(part, name) for name in names} | {"interval": [*part.interval]} for part in self.bins]
        return {"count": self.count, "ece": self.ece, "brier": self.brier, "bins": table}


def measure_calibration(predictions: Predictions, bins: int = BINS) -> Calibration:
    """Measure the calibration of predictions.

    Args:
        predictions: any number of images, also none.
        bins: maximum number of bins of the reliability table; at least 1.
    """
    count = len(predictions)
    table = reliability_table(predictions.confidence, predictions.correct, bins)
    return Calibration(
        count=count,
        ece=sum(part.count * abs(part.accuracy - part.confidence) for part in table) / count if count else None,
        brier=brier_score(predictions.probabilities, predictions.actual) if count else None,
        bins=table,
    )


def ece_if_calibrated(confidence: FloatArray, bins: int = BINS, draws: int = 200, seed: int = 0) -> float | None:
    """Return the expected calibration error that a perfectly calibrated classifier has on average on as many images.

    Whether an image is classified correctly is drawn with a probability equal to its confidence. The error of a real
    classifier says something about its calibration only as far as it is larger.

    Args:
        confidence: float64 array [N], each 0-1.
        bins: maximum number of bins; at least 1.
        draws: over which the mean is taken; at least 1.
        seed: of the draws.

    Returns:
        0-1; None without images.
    """
    if not confidence.size:
        return None
    rng, confidence = np.random.default_rng(seed), np.sort(confidence)
    starts = _bin_starts(confidence, bins)
    errors = [
        np.abs(np.add.reduceat((rng.random(confidence.size) < confidence) - confidence, starts)).sum()
        for _ in range(draws)
    ]
    return float(np.mean(errors)) / confidence.size


def reliability_table(confidence: FloatArray, correct: BoolArray, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Group images by confidence into bins of equal size.

    Images with equal confidence share a bin, so that the result does not depend on their order. If many confidences
    are equal, there are fewer bins of unequal size.

    Args:
        confidence: float64 array [N], each 0-1.
        correct: bool array [N].
        bins: maximum number of bins; at least 1.

    Raises:
        ValueError: `bins` is below 1 or the lengths differ.
    """
    if bins < 1 or confidence.shape != correct.shape:
        raise ValueError(f"no reliability of {confidence.size} and {correct.size} photos in {bins} bins")
    order = np.argsort(confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    cuts = _bin_starts(confidence, bins)[1:]
    pairs = zip(np.split(confidence, cuts), np.split(correct, cuts), strict=True)
    return tuple(_bin(sure, right) for sure, right in pairs if sure.size)


def brier_score(probabilities: FloatArray, actual: IntArray) -> float:
    """Mean squared distance, 0-2, of probabilities [N, C] from the labels, int64 [N]; N at least 1."""
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(actual)), actual] = 1
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def _bin_starts(values: FloatArray, bins: int) -> IntArray:
    """Return the first index of every bin of sorted values: equal sizes, but equal values share a bin."""
    cuts = np.round(np.linspace(0, values.size, bins + 1)[1:-1]).astype(np.int64)
    inside = cuts[(cuts > 0) & (cuts < values.size)]
    left = np.searchsorted(values, values[inside], side="left")
    right = np.searchsorted(values, values[inside], side="right")
    starts = np.union1d([0], np.where(inside - left <= right - inside, left, right))
    return starts[starts < values.size]


def _bin(confidence: FloatArray, correct: BoolArray) -> ReliabilityBin:
    count, right = confidence.size, int(correct.sum())
    return ReliabilityBin(
        low=float(confidence[0]),
        high=float(confidence[-1]),
        count=count,
        correct=right,
        confidence=float(confidence.mean()),
        accuracy=right / count,
        interval=wilson_interval(right, count),
    )


CONFIDENCE_DIGITS = 3
"""Confidences are rounded to this many digits before they are counted, because runtimes differ in the last digits."""
_HISTOGRAM_BINS = 10
_MIN_PHOTOS_PER_BIN = 10


def confidence_histogram(confidence: FloatArray) -> dict[str, Any]:
    """Count confidences in at most ten bins of ten or more images each.

    Args:
        confidence: float array [N], 0-1.

    Returns:
        `edges`: K ascending confidences, each the lower bound of a bin; `counts`: K + 1 numbers of images. Ready for
        JSON.
    """
    rounded = np.round(np.asarray(confidence, dtype=np.float64), CONFIDENCE_DIGITS)
    bins = max(1, min(_HISTOGRAM_BINS, rounded.size // _MIN_PHOTOS_PER_BIN))
    edges = np.zeros(0)
    if bins > 1:
        edges = np.unique(np.quantile(rounded, np.arange(1, bins) / bins, method="higher"))
        edges = edges[edges > rounded.min()]
    counts = np.bincount(np.searchsorted(edges, rounded, side="right"), minlength=edges.size + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
