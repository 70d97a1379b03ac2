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
    """Every photo ranked by how doubtful its label is.

    Attributes:
        order: int64 array [N], rows of the photos, the most doubtful label first.
        margin: float64 array [N] in the photos' own order, -1 to 1: probability of the label minus that of
            the most probable other class, each first taken relative to what photos of that class usually get,
            so that no class is doubtful as a whole; low is doubtful.
        suspect: bool array [N] in the photos' own order: another class is as probable for the photo as for
            the photos that bear its name.
        suggested: int64 array [N] in the photos' own order: that other class.
        expected: how many labels are wrong, as the counts suggest; rounded.
    """

    order: IntArray
    margin: FloatArray
    suspect: BoolArray
    suggested: IntArray
    expected: int

    @property
    def rows(self) -> IntArray:
        """Rows of the suspect photos alone, int64 [S], the most doubtful first."""
        return self.order[self.suspect[self.order]]

    def to_dict(self) -> dict[str, Any]:
        """Return how many are suspect and expected, ready for JSON."""
        return {"suspects": int(self.suspect.sum()), "expected": self.expected}


def find_label_issues(probabilities: FloatArray, labels: IntArray) -> LabelIssues:
    """Rank photos by how doubtful their labels are.

    Args:
        probabilities: float64 array [N, C] from a classifier that did not learn from these very photos:
            held out, or out of fold. Those of photos that taught it say only what it was taught.
        labels: int64 array [N] of class indices.

    Returns:
        The ranking; equally doubtful photos stay in order.

    Raises:
        ValueError: the shapes do not fit, a label is outside the classes, or a row does not sum to 1.
    """
    given = np.asarray(labels, dtype=np.int64)
    _check_inputs(probabilities, given)
    rows, usual = np.arange(given.size), _class_thresholds(probabilities, given)
    relative = probabilities / usual
    relative /= relative.sum(axis=1, keepdims=True)
    others = relative.copy()
    others[rows, given] = -1
    suggested = others.argmax(axis=1).astype(np.int64)
    margin = relative[rows, given] - others[rows, suggested]
    confident = _confident_classes(probabilities, usual)
    return LabelIssues(
        order=np.argsort(margin, kind="stable"),
        margin=margin,
        suspect=(confident >= 0) & (confident != given),
        suggested=suggested,
        expected=_expected_errors(confident, given, probabilities.shape[1]),
    )


def _class_thresholds(probabilities: FloatArray, labels: IntArray) -> FloatArray:
    """Mean probability that photos of each class are given for it, float64 [C]; 1 for one without photos."""
    usual = np.ones(probabilities.shape[1])
    for k in np.unique(labels):
        usual[k] = max(probabilities[labels == k, k].mean(), 1e-6)
    return usual


def _confident_classes(probabilities: FloatArray, usual: FloatArray) -> IntArray:
    """The class that each photo is counted for, int64 [N]; -1 where none is as probable as usual."""
    eligible = np.where(probabilities >= usual, probabilities, -1.0)
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
        raise ValueError("of one class no label can be wrong")
    if labels.size and not 0 <= labels.min() <= labels.max() < probabilities.shape[1]:
        raise ValueError(f"a label lies outside the classes 0-{probabilities.shape[1] - 1}")
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("a row of probabilities does not sum to 1")
