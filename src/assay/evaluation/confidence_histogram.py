"""How sure a classifier is on a set of photos, as counts: what later photos are compared with.

The bins hold equally many photos where they can, so that a change shows wherever the confidences lie. Knows
nothing of how later photos are judged.
"""

from typing import Any

import numpy as np

from assay.evaluation.predictions import Floats

DIGITS = 3
"""Confidences are rounded before they are counted: runtimes differ in the last digits, and where most lie at
1, these would decide."""
_BINS = 10
_PHOTOS_A_BIN = 10


def confidence_histogram(confidence: Floats) -> dict[str, Any]:
    """Count confidences in at most ten bins, each of ten photos or more.

    Args:
        confidence: float array [N], 0-1.

    Returns:
        `edges`: K ascending confidences that part the bins, each the first of its bin; `counts`: K + 1
        numbers of photos. Ready for JSON.
    """
    rounded = np.round(np.asarray(confidence, dtype=np.float64), DIGITS)
    bins = max(1, min(_BINS, rounded.size // _PHOTOS_A_BIN))
    edges = np.zeros(0)
    if bins > 1:
        edges = np.unique(np.quantile(rounded, np.arange(1, bins) / bins, method="higher"))
        edges = edges[edges > rounded.min()]
    counts = np.bincount(np.searchsorted(edges, rounded, side="right"), minlength=edges.size + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
