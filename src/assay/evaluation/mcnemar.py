"""Paired comparison of two classifiers on the same images: McNemar's test and an interval of the difference."""

from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
from scipy.stats import binomtest

from assay.core.errors import AssayError
from assay.core.text_layout import join_names
from assay.evaluation.intervals import CONFIDENCE_LEVEL, Interval, normal_quantile
from assay.evaluation.predictions import BoolArray, Predictions


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of two classifiers on the same images.

    Attributes:
        count: images.
        both: images that both classify correctly.
        only_first: images that only the first classifies correctly.
        only_second: images that only the second classifies correctly.
        neither: images that both misclassify.
        difference: accuracy of the second minus that of the first, -1 to 1.
        interval: confidence interval of the difference.
        p_value: probability of a difference at least as large if both are equally accurate, 0-1.
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
        """Whether the difference is significant at a confidence level."""
        return self.p_value < 1 - level

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, ready for JSON."""
        return asdict(self) | {"interval": list(self.interval), "significant": self.significant()}


def compare_paired(first: Predictions, second: Predictions, level: float = CONFIDENCE_LEVEL) -> Comparison:
    """Compare two classifiers image by image; images are matched by id, in any order.

    Args:
        first: predictions of one classifier.
        second: predictions of the other on the same images, with the same class names in any order.
        level: confidence level of the interval.

    Raises:
        AssayError: the images, their labels or the classes differ.
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

    Under the null hypothesis, each image on which only one is correct falls to either side with probability 1/2.

    Args:
        only_first: images that only the first classifies correctly.
        only_second: images that only the second classifies correctly.

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
    """Interval of the difference of two accuracies on the same images, second minus first.

    Source: D. G. Bonett and R. M. Price, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data", Journal of Educational and Behavioral Statistics 37 (2012).

    Args:
        only_first: images that only the first classifies correctly.
        only_second: images that only the second classifies correctly.
        total: number of all images.
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
    """Whether each classifier is correct, bool [N] each, in the order of the first one's images."""
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
