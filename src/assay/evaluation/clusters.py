"""Statistics of images that are not independent: those of a group tend to be right or wrong together."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from assay.evaluation.predictions import FloatArray, IntArray


def cluster_numbers(groups: Sequence[Hashable]) -> IntArray:
    """Return the number of each image's cluster, int64 [N]; an image whose group is None is a cluster of its own."""
    numbers: dict[Hashable, int] = {}
    return np.array(
        [numbers.setdefault((row,) if group is None else group, len(numbers)) for row, group in enumerate(groups)],
        dtype=np.int64,
    )


def group_design_effect(groups: Iterable[Hashable]) -> float:
    """Return the mean size of the group of an image, 1 or more.

    If all images of a group are right or wrong together, N images tell as much as N divided by this number of
    independent ones.

    Args:
        groups: the group of every image; None: the image is in no group.

    Source: L. Kish, "Survey Sampling" (1965), the design effect of clusters with an intraclass correlation of 1.
    """
    named = list(groups)
    if not named:
        return 1.0
    sizes = Counter(group for group in named if group is not None)
    alone = len(named) - sizes.total()
    return (alone + sum(size * size for size in sizes.values())) / len(named)


def standard_error(values: FloatArray, weights: FloatArray, groups: IntArray) -> float:
    """Return the standard error of a weighted mean whose values are independent between groups only.

    Source: K.-Y. Liang and S. L. Zeger, "Longitudinal data analysis using generalized linear models" (1986), the
        cluster-robust variance.
    """
    residuals = weights * (values - np.average(values, weights=weights))
    sums = np.bincount(groups, weights=residuals)
    count = len(sums)
    if count < 2:
        return float("inf")
    return float(np.sqrt((sums**2).sum() * count / (count - 1)) / weights.sum())
