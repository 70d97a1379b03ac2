"""Selective classification: precision and coverage at every confidence threshold.

Also chooses the threshold that guarantees a precision, and the novelty limit beyond which an image counts as
out of distribution.

Sources: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case
of the binomial" (1934); Y. Geifman and R. El-Yaniv, "Selective Classification for Deep Neural Networks"
(2017); S. S. Wilks, "Determination of sample sizes for setting tolerance limits" (1941), for limits that
hold whatever the distribution; G. J. Hahn and W. Q. Meeker, "Statistical Intervals" (1991), for those of a
normal one.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import exp, log, sqrt
from typing import Any, NamedTuple

import numpy as np
from scipy.special import betainc, betaincinv
from scipy.stats import nct, norm

from assay.core.errors import AssayError
from assay.evaluation.predictions import BoolArray, FloatArray, IntArray, Predictions


class PrecisionCoverageCurve(NamedTuple):
    """One point a distinct confidence, in rising order; at each, photos at least that sure are answered."""

    threshold: FloatArray
    """Confidence, float64 [T], 0-1."""
    answered: IntArray
    """Photos answered, int64 [T]; never rising, at least 1."""
    correct: IntArray
    """How many of them are right, int64 [T]."""
    coverage: FloatArray
    """Share of all photos that is answered, float64 [T]; 1 at the lowest threshold."""
    precision: FloatArray
    """Share of the answers that is right, float64 [T]; the accuracy at the lowest threshold."""


class PrecisionRecallCurve(NamedTuple):
    """One point a distinct probability of the positive class, in rising order."""

    threshold: FloatArray
    """Probability from which on a photo is called positive, float64 [T], 0-1."""
    precision: FloatArray
    """Share of the photos called positive that are, float64 [T]."""
    recall: FloatArray
    """Share of the positive photos called so, float64 [T]; nan where there are none."""


def precision_coverage_curve(predictions: Predictions) -> PrecisionCoverageCurve:
    """Compute precision and coverage at every threshold of the confidence; no photos give empty arrays."""
    threshold, answered, correct = _counts_above(predictions.confidence, predictions.correct)
    return PrecisionCoverageCurve(threshold, answered, correct, answered / max(1, len(predictions)), correct / answered)


def precision_recall_curve(predictions: Predictions, positive: str) -> PrecisionRecallCurve:
    """Compute precision and recall of one class at every threshold of its probability.

    Raises:
        ValueError: there is no such class.
    """
    k = predictions.classes.index(positive)
    actual = predictions.actual == k
    threshold, called, right = _counts_above(predictions.probabilities[:, k], actual)
    total = int(actual.sum())
    recall = right / total if total else np.full(right.shape, np.nan)
    return PrecisionRecallCurve(threshold, right / called, recall)


def _counts_above(scores: FloatArray, hits: np.ndarray) -> tuple[FloatArray, IntArray, IntArray]:
    """Distinct scores, and for each the photos at or above it and the hits among them."""
    order = np.argsort(scores, kind="stable")
    threshold, first = np.unique(scores[order], return_index=True)
    above = np.cumsum(hits[order][::-1])[::-1]
    return threshold, (scores.size - first).astype(np.int64), above[first].astype(np.int64)


GUARANTEE_CONFIDENCE = 0.9
"""How sure it is that the precision of photos to come lies above the bound."""
_MAX_CURVE_POINTS = 400


@dataclass(frozen=True, slots=True)
class ThresholdSelection:
    """A threshold and what validation says of it.

    Attributes:
        target: the precision that was asked for.
        reached: whether `bound` is at least `target`. If not, no threshold reaches it, and `threshold` is the
            one that proves most.
        threshold: least confidence that is answered, 0-1.
        count: validation photos, answered or not.
        answered: photos answered.
        correct: how many of them are right.
        bound: the precision that they prove: photos to come are answered with at least this precision, with
            the sureness `GUARANTEE_CONFIDENCE`.
    """

    target: float
    reached: bool
    threshold: float
    count: int
    answered: int
    correct: int
    bound: float

    @property
    def coverage(self) -> float:
        """Share of the photos that is answered."""
        return self.answered / self.count

    @property
    def precision(self) -> float | None:
        """Share of the answers that is right; None where nothing is answered."""
        return self.correct / self.answered if self.answered else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "coverage": self.coverage, "precision": self.precision}


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """What a threshold gives on one set of photos.

    Attributes:
        count: photos.
        answered: how many are answered.
        correct: how many of the answers are right.
        out_of_distribution: images refused because they are unlike the training images.
    """

    count: int
    answered: int
    correct: int
    out_of_distribution: int

    @property
    def coverage(self) -> float | None:
        """Share of the photos that is answered; None without photos."""
        return self.answered / self.count if self.count else None

    @property
    def precision(self) -> float | None:
        """Share of the answers that is right; None where nothing is answered."""
        return self.correct / self.answered if self.answered else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "coverage": self.coverage, "precision": self.precision}


def choose_threshold(curve: PrecisionCoverageCurve, count: int, target: float) -> ThresholdSelection:
    """Find the lowest confidence at which the precision is proven to be `target`.

    Args:
        curve: of the validation photos that may be answered at all.
        count: all validation photos.
        target: precision, between 0 and 1.

    Returns:
        The threshold; where none proves the target, the one that proves most (`reached` is false).

    Raises:
        AssayError: the curve is empty.
    """
    if not curve.threshold.size:
        raise AssayError("no photos to choose a threshold on: give the validation part more photos")
    bounds = precision_lower_bound(curve.correct, curve.answered)
    proven = np.flatnonzero(bounds >= target)
    row = int(proven[0]) if proven.size else int(bounds.argmax())
    return ThresholdSelection(
        target=target,
        reached=bool(proven.size),
        threshold=float(curve.threshold[row]),
        count=count,
        answered=int(curve.answered[row]),
        correct=int(curve.correct[row]),
        bound=float(bounds[row]),
    )


def precision_lower_bound(correct: IntArray, answered: IntArray, sureness: float = GUARANTEE_CONFIDENCE) -> FloatArray:
    """Clopper and Pearson's one-sided lower bound of a precision, exact for any number of photos.

    Args:
        correct: int64 array [T]: right answers.
        answered: int64 array [T]: answers, at least 1 each.
        sureness: probability that the bound holds, between 0 and 1.

    Returns:
        float64 array [T]; 0 where nothing is right.
    """
    bounds = betaincinv(np.maximum(correct, 1), answered - correct + 1, 1 - sureness)
    return np.where(correct > 0, bounds, 0.0)


def min_photos_for_precision(target: float, sureness: float = GUARANTEE_CONFIDENCE) -> int:
    """Return how many answers, all of them right, prove a precision: 230 for 0.99."""
    return int(np.ceil(np.log(1 - sureness) / np.log(target)))


def count_answers(confidence: FloatArray, correct: BoolArray, familiar: BoolArray, threshold: float) -> AnswerCounts:
    """Count what a threshold gives: arrays of N photos, as for `risk_coverage`."""
    answered = familiar & (confidence >= threshold)
    return AnswerCounts(
        count=confidence.size,
        answered=int(answered.sum()),
        correct=int((answered & correct).sum()),
        out_of_distribution=int((~familiar).sum()),
    )


def curve_to_dict(curve: PrecisionCoverageCurve, points: int = _MAX_CURVE_POINTS) -> dict[str, list[float]]:
    """Return a curve as plain lists for JSON, thinned to at most `points` thresholds; both ends stay."""
    rows = np.unique(np.linspace(0, curve.threshold.size - 1, points).round().astype(np.int64))
    rows = rows[: curve.threshold.size]
    return {name: getattr(curve, name)[rows].tolist() for name in ("threshold", "answered", "correct")}


def curve_from_dict(values: Mapping[Any, Any], count: int) -> PrecisionCoverageCurve:
    """Read what `curve_to_dict` wrote.

    Args:
        values: the lists by name.
        count: all photos, to tell the coverage.

    Raises:
        ValueError: a column is missing or of another length.
    """
    try:
        threshold = np.asarray(values["threshold"], dtype=np.float64)
        answered = np.asarray(values["answered"], dtype=np.int64)
        correct = np.asarray(values["correct"], dtype=np.int64)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no curve of precision and coverage ({error})") from None
    if not threshold.shape == answered.shape == correct.shape:
        raise ValueError("a curve of precision and coverage with columns of different lengths")
    return PrecisionCoverageCurve(threshold, answered, correct, answered / max(1, count), correct / answered)


NOVELTY_CONFIDENCE = 0.9
"""How sure it is that photos to come raise no more false alarms than allowed."""
MIN_NOVELTY_PHOTOS = 5
"""Validation photos below which nothing can be said."""


def novelty_limit(distance: FloatArray, max_false_positive_rate: float) -> float | None:
    """Find the distance that only a small share of familiar photos exceeds.

    With enough photos (45 for 5 %) it is one of the distances: the smallest with a share beyond it that is
    proven to be small, whatever the distribution. For a wanted 5 %, about 3.3 % of 300 photos lie beyond.
    With fewer photos none of them proves it, and the logarithm of the distance is taken to be normal.

    Args:
        distance: of validation photos, float array [N], at least 0.
        max_false_positive_rate: largest share of familiar photos beyond the limit, between 0 and 1.

    Returns:
        The limit, above 0; None for fewer than `MIN_NOVELTY_PHOTOS` photos.
    """
    count = distance.size
    if count < MIN_NOVELTY_PHOTOS:
        return None
    ordered = np.sort(np.asarray(distance, dtype=np.float64))
    # The share beyond the k-th smallest of N distances follows a beta distribution (N - k + 1, k).
    ranks = np.arange(1, count + 1)
    proven = np.flatnonzero(betainc(count - ranks + 1, ranks, max_false_positive_rate) >= NOVELTY_CONFIDENCE)
    limit = (
        float(ordered[proven[0]])
        if proven.size
        else max(float(ordered[-1]), _lognormal_limit(ordered, max_false_positive_rate))
    )
    return max(limit, float(np.finfo(np.float32).tiny))


def _lognormal_limit(distance: FloatArray, max_false_positive_rate: float) -> float:
    logs = np.log(np.maximum(distance, np.finfo(np.float32).tiny))
    root = sqrt(distance.size)
    factor = nct.ppf(NOVELTY_CONFIDENCE, distance.size - 1, norm.ppf(1 - max_false_positive_rate) * root) / root
    # A spread of many orders of magnitude comes from distances of nothing: no limit is wanted then.
    return exp(min(float(logs.mean() + factor * logs.std(ddof=1)), log(1e30)))
