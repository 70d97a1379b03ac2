"""Which classes are shown where there are too many to show all; JSON and CSV files always hold all."""

import numpy as np

from assay.evaluation.metrics import ClassMetrics, Metrics
from assay.evaluation.predictions import Integers
from assay.tables import MOST_CLASSES


def worst_classes(metrics: Metrics, most: int = MOST_CLASSES) -> tuple[ClassMetrics, ...]:
    """Return all classes in output order; of more than `MOST_CLASSES`, those with the lowest F1, worst first.

    Classes without photos are left out of the worst; of equals, those with more photos come first.
    """
    if len(metrics.classes) <= MOST_CLASSES:
        return metrics.classes
    judged = [one for one in metrics.classes if one.support]
    return tuple(sorted(judged, key=lambda one: (one.f1 or 0.0, -one.support))[:most])


def most_mistaken(counts: Integers, most: int = MOST_CLASSES) -> Integers:
    """Return the places of all classes; of more than `most`, of those with most mistakes, in output order.

    Args:
        counts: int64 array [C, C], rows actual, columns predicted.
        most: classes to return.

    Returns:
        int64 array [at most `most`], ascending.
    """
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    return np.sort(np.argsort(-wrong, kind="stable")[:most])
