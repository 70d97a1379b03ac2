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
    """One point per distinct confidence, ascending; images with at least this confidence are answered."""

    threshold: FloatArray
    """Confidence, float64 [T], 0-1."""
    answered: IntArray
    """Number of answered images, int64 [T], non-increasing; at least 1."""
    correct: IntArray
    """Number of correct answers, int64 [T]."""
    coverage: FloatArray
    """Share of all images that are answered, float64 [T]; 1 at the lowest threshold."""
    precision: FloatArray
    """Share of the answers that are correct, float64 [T]; equal to the accuracy at the lowest threshold."""


class PrecisionRecallCurve(NamedTuple):
    """One point per distinct probability of the positive class, ascending."""

    threshold: FloatArray
    """Images with at least this probability are predicted positive, float64 [T], 0-1."""
    precision: FloatArray
    """Share of the images predicted positive that are positive, float64 [T]."""
    recall: FloatArray
    """Share of the positive images that are predicted positive, float64 [T]; nan without positive images."""


def precision_coverage_curve(predictions: Predictions) -> PrecisionCoverageCurve:
    """Compute precision and coverage at every confidence threshold; the arrays are empty without images."""
    threshold, answered, correct = _counts_above(predictions.confidence, predictions.correct)
    return PrecisionCoverageCurve(threshold, answered, correct, answered / max(1, len(predictions)), correct / answered)


def precision_recall_curve(predictions: Predictions, positive: str) -> PrecisionRecallCurve:
    """Compute precision and recall of one class at every threshold of its probability.

    Raises:
        ValueError: the class does not exist.
    """
    k = predictions.classes.index(positive)
    actual = predictions.actual == k
    threshold, called, right = _counts_above(predictions.probabilities[:, k], actual)
    total = int(actual.sum())
    recall = right / total if total else np.full(right.shape, np.nan)
    return PrecisionRecallCurve(threshold, right / called, recall)


def _counts_above(scores: FloatArray, hits: np.ndarray) -> tuple[FloatArray, IntArray, IntArray]:
    """Return the distinct scores, and for each the numbers of images and of hits at or above it."""
    order = np.argsort(scores, kind="stable")
    threshold, first = np.unique(scores[order], return_index=True)
    above = np.cumsum(hits[order][::-1])[::-1]
    return threshold, (scores.size - first).astype(np.int64), above[first].astype(np.int64)


GUARANTEE_CONFIDENCE = 0.9
"""Confidence level of the lower bound of the precision on new images."""
_MAX_CURVE_POINTS = 400


@dataclass(frozen=True, slots=True)
class ThresholdSelection:
    """A confidence threshold, and its results on the validation images.

    Attributes:
        target: the required precision.
        reached: whether `bound` is at least `target`. If not, no threshold reaches it: see `choose_threshold`.
        threshold: lowest confidence that is answered, 0-1.
        count: validation images, answered or not.
        answered: answered images.
        correct: correct answers.
        bound: lower bound of the precision on new images, at the confidence level `GUARANTEE_CONFIDENCE`.
        design_effect: how many images count as one, since images of a group are not independent; 1 without groups.
    """

    target: float
    reached: bool
    threshold: float
    count: int
    answered: int
    correct: int
    bound: float
    design_effect: float = 1.0

    @property
    def coverage(self) -> float:
        """Share of the images that are answered."""
        return self.answered / self.count

    @property
    def precision(self) -> float | None:
        """Share of the answers that are correct; None without answers."""
        return self.correct / self.answered if self.answered else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "coverage": self.coverage, "precision": self.precision}


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Numbers of answers and of correct answers on one set of images.

    Attributes:
        count: images.
        answered: answered images.
        correct: correct answers.
        out_of_distribution: images not answered because they are unlike the training images.
    """

    count: int
    answered: int
    correct: int
    out_of_distribution: int

    @property
    def coverage(self) -> float | None:
        """Share of the images that are answered; None without images."""
        return self.answered / self.count if self.count else None

    @property
    def precision(self) -> float | None:
        """Share of the answers that are correct; None without answers."""
        return self.correct / self.answered if self.answered else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "coverage": self.coverage, "precision": self.precision}


def choose_threshold(
    curve: PrecisionCoverageCurve, count: int, target: float, design_effect: float = 1.0
) -> ThresholdSelection:
    """Find the lowest confidence threshold whose lower bound of the precision is at least `target`.

    Args:
        curve: of the validation images that are not out of distribution.
        count: number of all validation images.
        target: precision, between 0 and 1.
        design_effect: see `group_design_effect`; the bound counts this many images as one.

    Returns:
        The threshold. If none reaches the target (`reached` is false), the one with the highest bound among those whose
        precision on these images is at least `target`; if there are none either, the one with the highest bound for
        independent images, because large groups would favour a low threshold.

    Raises:
        AssayError: the curve is empty.
    """
    if not curve.threshold.size:
        raise AssayError("no photos to choose a threshold on: give the validation split more photos")
    bounds = precision_lower_bound(curve.correct / design_effect, curve.answered / design_effect)
    proven = np.flatnonzero(bounds >= target)
    row = int(proven[0]) if proven.size else _most_precise(curve, target, bounds)
    return ThresholdSelection(
        target=target,
        reached=bool(proven.size),
        threshold=float(curve.threshold[row]),
        count=count,
        answered=int(curve.answered[row]),
        correct=int(curve.correct[row]),
        bound=float(bounds[row]),
        design_effect=design_effect,
    )


def _most_precise(curve: PrecisionCoverageCurve, target: float, bounds: FloatArray) -> int:
    """Return the row of the curve to use if no bound reaches the target."""
    observed = curve.precision >= target
    if observed.any():
        return int(np.where(observed, bounds, -1.0).argmax())
    return int(precision_lower_bound(curve.correct, curve.answered).argmax())


def precision_lower_bound(
    correct: FloatArray | IntArray, answered: FloatArray | IntArray, level: float = GUARANTEE_CONFIDENCE
) -> FloatArray:
    """Clopper and Pearson's one-sided lower bound of a precision, exact for any number of images.

    Args:
        correct: array [T], number of correct answers; need not be whole.
        answered: array [T], number of answers, above 0.
        level: confidence level of the bound, between 0 and 1.

    Returns:
        float64 array [T]; 0 where no answer is correct.
    """
    bounds = betaincinv(np.where(correct > 0, correct, 1), answered - correct + 1, 1 - level)
    return np.where(correct > 0, bounds, 0.0)


def min_photos_for_precision(target: float, level: float = GUARANTEE_CONFIDENCE) -> int:
    """Return the number of answers, all correct, that are needed to guarantee a precision: 230 for 0.99."""
    return int(np.ceil(np.log(1 - level) / np.log(target)))


def count_answers(
    confidence: FloatArray, correct: BoolArray, in_distribution: BoolArray, threshold: float
) -> AnswerCounts:
    """Count the answers at a threshold.

    Args:
        confidence: float array [N].
        correct: bool array [N], whether the predicted class is the labelled one.
        in_distribution: bool array [N]; other images are not answered.
        threshold: lowest confidence that is answered.
    """
    answered = in_distribution & (confidence >= threshold)
    return AnswerCounts(
        count=confidence.size,
        answered=int(answered.sum()),
        correct=int((answered & correct).sum()),
        out_of_distribution=int((~in_distribution).sum()),
    )


def curve_to_dict(curve: PrecisionCoverageCurve, points: int = _MAX_CURVE_POINTS) -> dict[str, list[float]]:
    """Return a curve as plain lists for JSON, thinned to at most `points` thresholds; both ends stay."""
    rows = np.unique(np.linspace(0, curve.threshold.size - 1, points).round().astype(np.int64))
    rows = rows[: curve.threshold.size]
    return {name: getattr(curve, name)[rows].tolist() for name in ("threshold", "answered", "correct")}


def curve_from_dict(values: Mapping[Any, Any], count: int) -> PrecisionCoverageCurve:
    """Read the result of `curve_to_dict`.

    Args:
        values: the lists by name.
        count: number of all images, for the coverage.

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
"""Confidence level at which the false positive rate on new images is at most the allowed one."""
MIN_NOVELTY_PHOTOS = 5
"""Smallest number of validation images for a limit."""


def novelty_limit(distance: FloatArray, max_false_positive_rate: float, design_effect: float = 1.0) -> float | None:
    """Find the distance that only a small share of in-distribution images exceeds.

    With enough images (45 for 5 %) it is the smallest of the distances whose exceedance is guaranteed for any
    distribution (Wilks); for a rate of 5 %, about 3.3 % of 300 images exceed it. With fewer images the logarithm of the
    distance is assumed to be normally distributed.

    Args:
        distance: of the validation images, float array [N], at least 0.
        max_false_positive_rate: largest share of in-distribution images beyond the limit, between 0 and 1.
        design_effect: see `group_design_effect`; this many images count as one.

    Returns:
        The limit, above 0; None for fewer than `MIN_NOVELTY_PHOTOS` images.
    """
    if distance.size < MIN_NOVELTY_PHOTOS:
        return None
    ordered = np.sort(np.asarray(distance, dtype=np.float64))
    # The share beyond the k-th smallest of N distances follows a beta distribution (N - k + 1, k).
    ranks = np.arange(1, ordered.size + 1)
    beyond, within = (ordered.size - ranks) / design_effect + 1, ranks / design_effect
    proven = np.flatnonzero(betainc(beyond, within, max_false_positive_rate) >= NOVELTY_CONFIDENCE)
    limit = (
        float(ordered[proven[0]])
        if proven.size
        else max(float(ordered[-1]), _lognormal_limit(ordered, max_false_positive_rate, ordered.size / design_effect))
    )
    return max(limit, float(np.finfo(np.float32).tiny))


def _lognormal_limit(distance: FloatArray, max_false_positive_rate: float, independent: float) -> float:
    """Return the limit for a log-normal distribution and a number of independent images, at least 2."""
    logs = np.log(np.maximum(distance, np.finfo(np.float32).tiny))
    count = max(2.0, independent)
    root = sqrt(count)
    factor = nct.ppf(NOVELTY_CONFIDENCE, count - 1, norm.ppf(1 - max_false_positive_rate) * root) / root
    # Distances of almost 0 spread over many orders of magnitude; the limit is then practically infinite.
    return exp(min(float(logs.mean() + factor * logs.std(ddof=1)), log(1e30)))
