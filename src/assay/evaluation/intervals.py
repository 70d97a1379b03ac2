"""Confidence intervals for proportions."""

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

CONFIDENCE_LEVEL = 0.95
"""Confidence level of every interval in a report."""


class Interval(NamedTuple):
    """A confidence interval from `low` to `high`."""

    low: float
    high: float


def wilson_interval(successes: int, total: int, level: float = CONFIDENCE_LEVEL) -> Interval:
    """Wilson's score interval of a binomial share.

    Unlike the normal approximation it stays within 0-1 and has a width when every image is correct: 20 of 20
    gives 0.84 to 1. It assumes independent images; a burst of ten images of the same object counts for less
    than ten.

    Args:
        successes: number of successes.
        total: number of trials; at least 1.
        level: confidence level, between 0 and 1.

    Raises:
        ValueError: `total` is below 1, `successes` outside 0-`total`, or `level` outside 0-1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
    the American Statistical Association 22 (1927).
    """
    if total < 1 or not 0 <= successes <= total:
        raise ValueError(f"not a proportion: {successes} of {total}")
    z = normal_quantile(level)
    share = successes / total
    shrink = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / shrink
    half = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / shrink
    # Exact at the ends, where rounding would leave 1e-17.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return Interval(low, high)


def normal_quantile(level: float) -> float:
    """Return the two-sided normal quantile of a confidence level: 1.96 for 0.95.

    Raises:
        ValueError: `level` is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not at {level}")
    return NormalDist().inv_cdf((1 + level) / 2)
