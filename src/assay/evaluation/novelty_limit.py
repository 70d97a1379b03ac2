"""How unlike the training photos a photo may be before it is called so, found on validation photos.

Knows distances alone, not what they are between.

Sources: S. S. Wilks, "Determination of sample sizes for setting tolerance limits" (1941), for limits that
hold whatever the distribution; G. J. Hahn and W. Q. Meeker, "Statistical Intervals" (1991), for those of a
normal one.
"""

from math import exp, log, sqrt

import numpy as np
from scipy.special import betainc
from scipy.stats import nct, norm

from assay.evaluation.predictions import Floats

SURENESS = 0.9
"""How sure it is that photos to come raise no more false alarms than allowed."""
FEWEST = 5
"""Validation photos below which nothing can be said."""


def novelty_limit(distance: Floats, false_alarms: float) -> float | None:
    """Find the distance that only a small share of familiar photos exceeds.

    With enough photos (45 for 5 %) it is one of the distances: the smallest with a share beyond it that is
    proven to be small, whatever the distribution. For a wanted 5 %, about 3.3 % of 300 photos lie beyond.
    With fewer photos none of them proves it, and the logarithm of the distance is taken to be normal.

    Args:
        distance: of validation photos, float array [N], at least 0.
        false_alarms: largest share of familiar photos beyond the limit, between 0 and 1.

    Returns:
        The limit, above 0; None for fewer than `FEWEST` photos.
    """
    count = distance.size
    if count < FEWEST:
        return None
    ordered = np.sort(np.asarray(distance, dtype=np.float64))
    # The share beyond the k-th smallest of N distances follows a beta distribution (N - k + 1, k).
    ranks = np.arange(1, count + 1)
    proven = np.flatnonzero(betainc(count - ranks + 1, ranks, false_alarms) >= SURENESS)
    limit = (
        float(ordered[proven[0]]) if proven.size else max(float(ordered[-1]), _normal(ordered, false_alarms))
    )
    return max(limit, float(np.finfo(np.float32).tiny))


def _normal(distance: Floats, false_alarms: float) -> float:
    logs = np.log(np.maximum(distance, np.finfo(np.float32).tiny))
    root = sqrt(distance.size)
    factor = nct.ppf(SURENESS, distance.size - 1, norm.ppf(1 - false_alarms) * root) / root
    # A spread of many orders of magnitude comes from distances of nothing: no limit is wanted then.
    return exp(min(float(logs.mean() + factor * logs.std(ddof=1)), log(1e30)))
