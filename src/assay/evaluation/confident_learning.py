"""Confident learning: labels that are probably wrong, found from held-out predictions.

A label is an issue when another class is at least as probable for the image as that class is, on average,
for the images labelled with it.

Source: C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident Learning: Estimating Uncertainty in Dataset
Labels", Journal of Artificial Intelligence Research 70 (2021).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.evaluation.predictions import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """All labels ranked by how doubtful they are.

    Attributes:
        order: int64 array [N], rows of the images, the most doubtful label first.
        margin: float64 array [N] in the images' order, -1 to 1: probability of the label minus that of
            the most probable other class, each relative to the mean probability of that class for its own images,
            so that no class is doubtful as a whole; low is doubtful.
        is_issue: bool array [N] in the images' order: another class is at least as probable for the image as
            on average for the images labelled with it.
        suggested: int64 array [N] in the images' order: that other class.
        expected_errors: estimated number of wrong labels, rounded.
    """

    order: IntArray
    margin: FloatArray
    is_issue: BoolArray
    suggested: IntArray
    expected_errors: int

    @property
    def rows(self) -> IntArray:
        """Rows of the label issues, int64 [S], the most doubtful first."""
        return self.order[self.is_issue[self.order]]

    def to_dict(self) -> dict[str, Any]:
        """Return the number of issues and of expected errors, ready for JSON."""
        return {"count": int(self.is_issue.sum()), "expected_errors": self.expected_errors}


def find_label_issues(probabilities: FloatArray, labels: IntArray) -> LabelIssues:
    """Rank images by how doubtful their labels are.

    Args:
        probabilities: float64 array [N, C] from a classifier that was not trained on these images:
            held out, or out of fold. On training images it repeats their labels.
        labels: int64 array [N] of class indices.

    Returns:
        The ranking; equally doubtful images stay in order.

    Raises:
        ValueError: the shapes do not fit, a label is outside the classes, or a row does not sum to 1.
    """
    labels_given = np.asarray(labels, dtype=np.int64)
    _check_inputs(probabilities, labels_given)
    rows, thresholds = np.arange(labels_given.size), _class_thresholds(probabilities, labels_given)
    relative = probabilities / thresholds
    relative /= relative.sum(axis=1, keepdims=True)
    others = relative.copy()
    others[rows, labels_given] = -1
    suggested = others.argmax(axis=1).astype(np.int64)
    margin = relative[rows, labels_given] - others[rows, suggested]
    confident = _confident_classes(probabilities, thresholds)
    return LabelIssues(
        order=np.argsort(margin, kind="stable"),
        margin=margin,
        is_issue=(confident >= 0) & (confident != labels_given),
        suggested=suggested,
        expected_errors=_expected_errors(confident, labels_given, probabilities.shape[1]),
    )


def _class_thresholds(probabilities: FloatArray, labels: IntArray) -> FloatArray:
    """Mean probability of each class for its own images, float64 [C]; 1 for a class without images."""
    thresholds = np.ones(probabilities.shape[1])
    for k in np.unique(labels):
        thresholds[k] = max(probabilities[labels == k, k].mean(), 1e-6)
    return thresholds


def _confident_classes(probabilities: FloatArray, thresholds: FloatArray) -> IntArray:
    """The most probable class above its threshold of each image, int64 [N]; -1 where there is none."""
    eligible = np.where(probabilities >= thresholds, probabilities, -1.0)
    return np.where(eligible.max(axis=1, initial=-1.0) >= 0, eligible.argmax(axis=1), -1)


def _expected_errors(confident: IntArray, labels: IntArray, classes: int) -> int:
    """Wrong labels among all photos: the share of each class's counted photos that is counted elsewhere."""
    total = 0.0
    for k in range(classes):
        counted = confident[(labels == k) & (confident >= 0)]
        if counted.size:
            total += float((counted != k).mean()) * int((labels == k).sum())
    return round(total)


def _check_inputs(probabilities: FloatArray, labels: IntArray) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities of shape {probabilities.shape} do not fit {labels.shape} labels")
    if probabilities.shape[1] < 2:
        raise ValueError("label issues need two or more classes")
    if labels.size and not 0 <= labels.min() <= labels.max() < probabilities.shape[1]:
        raise ValueError(f"a label lies outside the classes 0-{probabilities.shape[1] - 1}")
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("a row of probabilities does not sum to 1")
