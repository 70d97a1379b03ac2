"""Bayesian bootstrap intervals of balanced accuracy, F1 and ROC-AUC.

Images get random weights, thousands of times, as if they were drawn again, together with prior pseudo-images:
one correct and one wrong, spread over all classes. Without them a good classifier gets far too narrow an
interval on few images, down to zero width where every image is correct: for two classes of ten images each and
a true accuracy of 95 %, the plain bootstrap contains the true value in 65 % of all test sets instead of 95 %,
this one in 93 %.

Images must be independent: a burst of the same object counts for less than its number.

Sources: D. B. Rubin, "The Bayesian Bootstrap", Annals of Statistics 9 (1981); O. Caelen, "A Bayesian
interpretation of the confusion matrix", Annals of Mathematics and Artificial Intelligence 81 (2017);
L. D. Brown, T. T. Cai and A. DasGupta, "Interval Estimation for a Binomial Proportion", Statistical Science
16 (2001), for the prior of one half and for stretching an interval to an estimate at the end of the scale.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from assay.evaluation.intervals import CONFIDENCE_LEVEL, Interval, normal_quantile
from assay.evaluation.metrics import Metrics, compute_metrics, confusion_counts, ranking_scores
from assay.evaluation.predictions import BoolArray, FloatArray, IntArray, Predictions

RESAMPLES = 2000
"""Default number of resamples."""

_MAX_CELLS = 4_000_000  # floats held at once
_MAX_AUC_WORK = 100_000_000  # images x classes x resamples of the ROC-AUC
_MIN_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class BootstrapIntervals:
    """Intervals of the metrics of `Metrics` with the same names; None where the metric is not defined.

    Attributes:
        balanced_accuracy: of the mean recall.
        macro_f1: of the mean F1.
        roc_auc: of the ROC-AUC.
        f1: of each class, in output order.
        level: confidence level of all intervals.
    """

    balanced_accuracy: Interval | None
    macro_f1: Interval | None
    roc_auc: Interval | None
    f1: tuple[Interval | None, ...]
    level: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, ready for JSON; intervals are [low, high]."""
        values = asdict(self)
        for name in ("balanced_accuracy", "macro_f1", "roc_auc"):
            values[name] = None if values[name] is None else list(values[name])
        values["f1"] = [None if interval is None else list(interval) for interval in self.f1]
        return values


def bootstrap_intervals(
    predictions: Predictions,
    metrics: Metrics | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = CONFIDENCE_LEVEL,
) -> BootstrapIntervals:
    """Compute the intervals; the same seed gives the same ones.

    Args:
        predictions: any number of images, also none.
        metrics: of the predictions; None: computed here.
        resamples: number of bootstrap resamples. The ROC-AUC uses fewer when images and classes are many.
        seed: of the random weights.
        level: confidence level, between 0 and 1.
    """
    normal_quantile(level)  # raises for an invalid level
    rng = np.random.default_rng(seed)
    metrics, counts = metrics or compute_metrics(predictions), confusion_counts(predictions)
    recall, f1 = _macro_samples(rng, counts, resamples)
    return BootstrapIntervals(
        balanced_accuracy=_interval(recall, metrics.balanced_accuracy, level),
        macro_f1=_interval(f1, metrics.macro.f1, level),
        roc_auc=_interval(_auc_samples(rng, predictions, metrics, resamples), metrics.roc_auc, level),
        f1=tuple(
            _interval(_class_f1_samples(rng, counts, k, resamples), entry.f1 if entry.support else None, level)
            for k, entry in enumerate(metrics.classes)
        ),
        level=level,
    )


def _interval(samples: FloatArray, estimate: float | None, level: float) -> Interval | None:
    if estimate is None or not samples.size:
        return None
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(min(float(low), estimate), max(float(high), estimate))


def _macro_samples(rng: np.random.Generator, counts: IntArray, resamples: int) -> tuple[FloatArray, FloatArray]:
    """Balanced accuracy and macro F1 of random confusion matrices, float64 [resamples] each."""
    classes, support = len(counts), counts.sum(axis=1)
    if not support.any():
        return np.empty(0), np.empty(0)
    unseen = np.full(counts.shape, 1 / classes / (classes - 1))
    np.fill_diagonal(unseen, 1 / classes)
    unseen[support == 0] = 0  # nothing is known about a class without images
    known = support + counts.sum(axis=0) > 0
    recall, f1 = np.empty(resamples), np.empty(resamples)
    for part in _chunks(resamples, counts.size):
        drawn = rng.standard_gamma(counts + unseen, size=(part.stop - part.start, *counts.shape))
        correct, rows, columns = np.einsum("bii->bi", drawn), drawn.sum(axis=2), drawn.sum(axis=1)
        recall[part] = (correct[:, support > 0] / rows[:, support > 0]).mean(axis=1)
        f1[part] = (2 * correct[:, known] / (rows + columns)[:, known]).mean(axis=1)
    return recall, f1


def _class_f1_samples(rng: np.random.Generator, counts: IntArray, k: int, resamples: int) -> FloatArray:
    """F1 of class k against the rest, float64 [resamples]."""
    correct = counts[k, k]
    cells = np.array([correct, counts[k].sum() - correct, counts[:, k].sum() - correct])
    true_positives, false_negatives, false_positives = rng.standard_gamma(cells + 0.5, size=(resamples, 3)).T
    return np.asarray(2 * true_positives / (2 * true_positives + false_negatives + false_positives), dtype=np.float64)


def _auc_samples(rng: np.random.Generator, predictions: Predictions, metrics: Metrics, resamples: int) -> FloatArray:
    """Mean ROC-AUC of the classes that have one, float64 [resamples or fewer]."""
    classes = [k for k, entry in enumerate(metrics.classes) if entry.roc_auc is not None]
    if not classes:
        return np.empty(0)
    if len(predictions.classes) == 2:
        classes = classes[:1]  # the other class has the same
    photos = len(predictions)
    resamples = min(resamples, max(_MIN_RESAMPLES, _MAX_AUC_WORK // (photos * len(classes))))
    areas = np.zeros(resamples)
    for part in _chunks(resamples, photos):
        weights = rng.standard_exponential((part.stop - part.start, photos))
        for k in classes:
            actual = predictions.actual == k
            area = _weighted_auc(ranking_scores(predictions, k), actual, weights)
            # Prior pseudo-images that the classifier ranks by chance, on either side.
            prior = 0.5 / len(predictions.classes)
            seen = 1 - rng.beta(prior, [int(actual.sum()), int((~actual).sum())], size=(len(area), 2))
            areas[part] += 0.5 + seen.prod(axis=1) * (area - 0.5)
    return areas / len(classes)


def _weighted_auc(scores: FloatArray, actual: BoolArray, weights: FloatArray) -> FloatArray:
    """Area under the ROC curve for each row of weights [B, N]; equal scores count half."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    weights, actual = weights[:, order], actual[order]
    positive = np.add.reduceat(weights * actual, starts, axis=1)
    negative = np.add.reduceat(weights * ~actual, starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    area = (positive * below).sum(axis=1) / positive.sum(axis=1) / negative.sum(axis=1)
    return np.asarray(area, dtype=np.float64)


def _chunks(resamples: int, size: int) -> list[slice]:
    step = max(1, _MAX_CELLS // size)
    return [slice(start, min(start + step, resamples)) for start in range(0, resamples, step)]
