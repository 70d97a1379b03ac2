"""Labels that are probably wrong, found by what a classifier says of photos that taught it nothing.

Confident learning: a photo is suspect when another class is at least as probable for it as that class is, on
average, for the photos labelled with it. Knows nothing of pictures; whoever looks at the suspects decides.

Source: C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident Learning: Estimating Uncertainty in Dataset
Labels", Journal of Artificial Intelligence Research 70 (2021).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.evaluation.predictions import Booleans, Floats, Integers


@dataclass(frozen=True, eq=False)
class LabelSuspects:
    """Every photo ranked by how doubtful its label is.

    Attributes:
        order: int64 array [N], rows of the photos, the most doubtful label first.
        margin: float64 array [N] in the photos' own order, -1 to 1: probability of the label minus that of
            the most probable other class; low is doubtful.
        suspect: bool array [N] in the photos' own order: another class is as probable for the photo as for
            the photos that bear its name.
        suggested: int64 array [N] in the photos' own order: the most probable other class.
        expected: how many labels are wrong, as the counts suggest; rounded.
    """

    order: Integers
    margin: Floats
    suspect: Booleans
    suggested: Integers
    expected: int

    @property
    def rows(self) -> Integers:
        """Rows of the suspect photos alone, int64 [S], the most doubtful first."""
        return self.order[self.suspect[self.order]]

    def to_dict(self) -> dict[str, Any]:
        """Return how many are suspect and expected, ready for JSON."""
        return {"suspects": int(self.suspect.sum()), "expected": self.expected}


def label_suspects(probabilities: Floats, labels: Integers) -> LabelSuspects:
    """Rank photos by how doubtful their labels are.

    Args:
        probabilities: float64 array [N, C] from a classifier that did not learn from these very photos:
            held out, or out of fold. Those of photos that taught it say only what it was taught.
        labels: int64 array [N] of class indices.

    Returns:
        The ranking; equally doubtful photos stay in order.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities of shape {probabilities.shape} do not fit {labels.shape} labels")
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    suggested = others.argmax(axis=1).astype(np.int64) if len(labels) else labels
    margin = probabilities[rows, labels] - probabilities[rows, suggested]
    confident = _confident(probabilities, labels)
    suspect = (confident >= 0) & (confident != labels)
    return LabelSuspects(
        order=np.argsort(margin, kind="stable"),
        margin=margin,
        suspect=suspect,
        suggested=suggested,
        expected=_expected(confident, labels, probabilities.shape[1]),
    )


def _confident(probabilities: Floats, labels: Integers) -> Integers:
    """The class that each photo is counted for, int64 [N]; -1 where no class is probable enough."""
    thresholds = np.array(
        [
            probabilities[labels == k, k].mean() if (labels == k).any() else np.inf
            for k in range(probabilities.shape[1])
        ]
    )
    eligible = np.where(probabilities >= thresholds, probabilities, -1.0)
    if not len(labels):
        return labels
    return np.where(eligible.max(axis=1) >= 0, eligible.argmax(axis=1), -1)


def _expected(confident: Integers, labels: Integers, classes: int) -> int:
    """Wrong labels among all photos: the share of each class's counted photos that is counted elsewhere."""
    total = 0.0
    for k in range(classes):
        counted = confident[(labels == k) & (confident >= 0)]
        if counted.size:
            total += float((counted != k).mean()) * int((labels == k).sum())
    return round(total)
