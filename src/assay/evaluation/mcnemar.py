"""Paired comparison of two classifiers on the same images: McNemar's test and an interval of the difference."""

from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
from scipy.stats import binomtest

from assay.core.errors import AssayError
from assay.core.tables import join_names
from assay.evaluation.intervals import CONFIDENCE_LEVEL, Interval, normal_quantile
from assay.evaluation.predictions import BoolArray, Predictions


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two classifiers on the same photos.

    Attributes:
        count: photos.
        both: photos on which both are right.
        only_first: photos on which only the first is right.
        only_second: photos on which only the second is right.
        neither: photos on which both are wrong.
        difference: accuracy of the second minus that of the first, -1 to 1.
        interval: where the true difference lies.
        p_value: how often chance alone makes a difference at least as large, 0-1.
    """

    count: int
    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    interval: Interval
    p_value: float

    def significant(self, level: float = CONFIDENCE_LEVEL) -> bool:
        """Whether the difference is more than chance, at a level of confidence."""
        return self.p_value < 1 - level

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, ready for JSON."""
        return asdict(self) | {"interval": list(self.interval), "significant": self.significant()}


def compare_paired(first: Predictions, second: Predictions, level: float = CONFIDENCE_LEVEL) -> Comparison:
    """Compare two classifiers photo by photo; photos are matched by id, in any order.

    Args:
        first: predictions of one classifier.
        second: predictions of the other on the same photos, with the same class names in any order.
        level: confidence level of the interval.

    Raises:
        AssayError: the photos, their labels or the classes are not the same.
    """
    first_correct, second_correct = _match_photos(first, second)
    only_first = int((first_correct & ~second_correct).sum())
    only_second = int((second_correct & ~first_correct).sum())
    return Comparison(
        count=first_correct.size,
        both=int((first_correct & second_correct).sum()),
        only_first=only_first,
        only_second=only_second,
        neither=int((~first_correct & ~second_correct).sum()),
        difference=(only_second - only_first) / first_correct.size,
        interval=paired_difference_interval(only_first, only_second, first_correct.size, level),
        p_value=mcnemar_p_value(only_first, only_second),
    )


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar's test.

    If the two were equally good, each photo on which they disagree would fall to either side like a coin.

    Args:
        only_first: photos on which only the first classifier is right.
        only_second: photos on which only the second is right.

    Returns:
        The p-value, 0-1; 1 when they never disagree.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947), with the binomial distribution in place of chi-square.
    """
    disagreements = only_first + only_second
    if not disagreements:
        return 1.0
    return float(binomtest(only_second, disagreements).pvalue)


def paired_difference_interval(
    only_first: int, only_second: int, total: int, level: float = CONFIDENCE_LEVEL
) -> Interval:
    """Interval of the difference of two accuracies on the same photos, second minus first.

    Source: D. G. Bonett and R. M. Price, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data", Journal of Educational and Behavioral Statistics 37 (2012).

    Args:
        only_first: photos on which only the first classifier is right.
        only_second: photos on which only the second is right.
        total: all photos.
        level: confidence level.

    Raises:
        ValueError: the counts are negative or larger than `total`, or `total` is below 1.
    """
    if min(only_first, only_second) < 0 or total < max(1, only_first + only_second):
        raise ValueError(f"no difference of {only_first} and {only_second} of {total} photos")
    first, second = (only_first + 1) / (total + 2), (only_second + 1) / (total + 2)
    half = normal_quantile(level) * sqrt((first + second - (second - first) ** 2) / (total + 2))
    return Interval(max(-1.0, second - first - half), min(1.0, second - first + half))


def _match_photos(first: Predictions, second: Predictions) -> tuple[BoolArray, BoolArray]:
    """Whether each classifier is right, bool [N] each, in the order of the first one's photos."""
    if set(first.classes) != set(second.classes):
        raise AssayError(
            f"the classes of the classifiers differ ({join_names(first.classes)}; {join_names(second.classes)}): "
            "compare classifiers with the same classes"
        )
    rows = {name: row for row, name in enumerate(second.ids)}
    if len(rows) != len(second) or len(set(first.ids)) != len(first):
        raise AssayError("a photo was predicted twice by one classifier: compare one evaluation of each")
    if rows.keys() != set(first.ids) or not rows:
        alone = len(rows.keys() ^ set(first.ids))
        raise AssayError(
            f"the classifiers were not evaluated on the same photos ({alone} occur in one evaluation only): "
            "evaluate both on the same data"
        )
    places = np.array([rows[name] for name in first.ids])
    labels = np.array([first.classes.index(name) for name in second.classes])[second.actual[places]]
    if (labels != first.actual).any():
        name = first.ids[int((labels != first.actual).argmax())]
        raise AssayError(f"{name} has two different labels: evaluate both classifiers on the same data")
    return first.correct, second.correct[places]
