"""What is gained by answering only when sure: precision and coverage at every threshold of the confidence.

Describes the photos at hand and promises nothing about others.
"""

from typing import NamedTuple

import numpy as np

from assay.evaluation.predictions import Floats, Integers, Predictions


class ThresholdCurve(NamedTuple):
    """One point a distinct confidence, in rising order; at each, photos at least that sure are answered."""

    threshold: Floats
    """Confidence, float64 [T], 0-1."""
    answered: Integers
    """Photos answered, int64 [T]; never rising, at least 1."""
    correct: Integers
    """How many of them are right, int64 [T]."""
    coverage: Floats
    """Share of all photos that is answered, float64 [T]; 1 at the lowest threshold."""
    precision: Floats
    """Share of the answers that is right, float64 [T]; the accuracy at the lowest threshold."""


class PositiveCurve(NamedTuple):
    """One point a distinct probability of the positive class, in rising order."""

    threshold: Floats
    """Probability from which on a photo is called positive, float64 [T], 0-1."""
    precision: Floats
    """Share of the photos called positive that are, float64 [T]."""
    recall: Floats
    """Share of the positive photos called so, float64 [T]; nan where there are none."""


def threshold_curve(predictions: Predictions) -> ThresholdCurve:
    """Compute precision and coverage at every threshold of the confidence; no photos give empty arrays."""
    threshold, answered, correct = _counts(predictions.confidence, predictions.correct)
    return ThresholdCurve(
        threshold, answered, correct, answered / max(1, len(predictions)), correct / answered
    )


def positive_curve(predictions: Predictions, positive: str) -> PositiveCurve:
    """Compute precision and recall of one class at every threshold of its probability.

    Raises:
        ValueError: there is no such class.
    """
    k = predictions.classes.index(positive)
    actual = predictions.actual == k
    threshold, called, right = _counts(predictions.probabilities[:, k], actual)
    total = int(actual.sum())
    recall = right / total if total else np.full(right.shape, np.nan)
    return PositiveCurve(threshold, right / called, recall)


def _counts(scores: Floats, hits: np.ndarray) -> tuple[Floats, Integers, Integers]:
    """Distinct scores, and for each the photos at or above it and the hits among them."""
    order = np.argsort(scores, kind="stable")
    threshold, first = np.unique(scores[order], return_index=True)
    above = np.cumsum(hits[order][::-1])[::-1]
    return threshold, (scores.size - first).astype(np.int64), above[first].astype(np.int64)
