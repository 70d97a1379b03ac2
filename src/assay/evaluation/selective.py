"""Answering only when sure enough: which confidence to ask for so that a share of the answers is right.

Chosen on validation photos by a confidence bound, so that the promise holds for photos to come and not only
for those at hand. Knows nothing of why a photo may be refused besides.

Sources: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of
the binomial" (1934), for the bound; Y. Geifman and R. El-Yaniv, "Selective Classification for Deep Neural
Networks" (2017), for choosing a threshold by it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import betaincinv

from assay.errors import AssayError
from assay.evaluation.predictions import Booleans, Floats, Integers
from assay.evaluation.threshold import ThresholdCurve

SURENESS = 0.9
"""How sure it is that the precision of photos to come lies above the bound."""
_POINTS = 400


@dataclass(frozen=True, slots=True)
class Selection:
    """A threshold and what validation says of it.

    Attributes:
        target: the precision that was asked for.
        reached: whether `bound` is at least `target`. If not, no threshold reaches it, and `threshold` is the
            one that proves most.
        threshold: least confidence that is answered, 0-1.
        count: validation photos, answered or not.
        answered: photos answered.
        correct: how many of them are right.
        bound: the precision that they prove: photos to come are answered with at least this precision, with
            the sureness `SURENESS`.
    """

    target: float
    reached: bool
    threshold: float
    count: int
    answered: int
    correct: int
    bound: float

    @property
    def coverage(self) -> float:
        """Share of the photos that is answered."""
        return self.answered / self.count

    @property
    def precision(self) -> float | None:
        """Share of the answers that is right; None where nothing is answered."""
        return self.correct / self.answered if self.answered else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "coverage": self.coverage, "precision": self.precision}


@dataclass(frozen=True, slots=True)
class Answered:
    """What a threshold gives on one set of photos.

    Attributes:
        count: photos.
        answered: how many are answered.
        correct: how many of the answers are right.
        unfamiliar: how many are refused because they look unlike the training photos.
    """

    count: int
    answered: int
    correct: int
    unfamiliar: int

    @property
    def coverage(self) -> float | None:
        """Share of the photos that is answered; None without photos."""
        return self.answered / self.count if self.count else None

    @property
    def precision(self) -> float | None:
        """Share of the answers that is right; None where nothing is answered."""
        return self.correct / self.answered if self.answered else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "coverage": self.coverage, "precision": self.precision}


def choose_threshold(curve: ThresholdCurve, count: int, target: float) -> Selection:
    """Find the lowest confidence at which the precision is proven to be `target`.

    Args:
        curve: of the validation photos that may be answered at all.
        count: all validation photos.
        target: precision, between 0 and 1.

    Returns:
        The threshold; where none proves the target, the one that proves most (`reached` is false).

    Raises:
        AssayError: the curve is empty.
    """
    if not curve.threshold.size:
        raise AssayError("no photos to choose a threshold on: give the validation part more photos")
    bounds = precision_bound(curve.correct, curve.answered)
    proven = np.flatnonzero(bounds >= target)
    row = int(proven[0]) if proven.size else int(bounds.argmax())
    return Selection(
        target=target,
        reached=bool(proven.size),
        threshold=float(curve.threshold[row]),
        count=count,
        answered=int(curve.answered[row]),
        correct=int(curve.correct[row]),
        bound=float(bounds[row]),
    )


def precision_bound(correct: Integers, answered: Integers, sureness: float = SURENESS) -> Floats:
    """Clopper and Pearson's one-sided lower bound of a precision, exact for any number of photos.

    Args:
        correct: int64 array [T]: right answers.
        answered: int64 array [T]: answers, at least 1 each.
        sureness: probability that the bound holds, between 0 and 1.

    Returns:
        float64 array [T]; 0 where nothing is right.
    """
    bounds = betaincinv(np.maximum(correct, 1), answered - correct + 1, 1 - sureness)
    return np.where(correct > 0, bounds, 0.0)


def photos_needed(target: float, sureness: float = SURENESS) -> int:
    """Return how many answers, all of them right, prove a precision: 230 for 0.99."""
    return int(np.ceil(np.log(1 - sureness) / np.log(target)))


def count_answered(confidence: Floats, correct: Booleans, familiar: Booleans, threshold: float) -> Answered:
    """Count what a threshold gives: arrays of N photos, as for `risk_coverage`."""
    answered = familiar & (confidence >= threshold)
    return Answered(
        count=confidence.size,
        answered=int(answered.sum()),
        correct=int((answered & correct).sum()),
        unfamiliar=int((~familiar).sum()),
    )


def dump_curve(curve: ThresholdCurve, points: int = _POINTS) -> dict[str, list[float]]:
    """Return a curve as plain lists for JSON, thinned to at most `points` thresholds; both ends stay."""
    rows = np.unique(np.linspace(0, curve.threshold.size - 1, points).round().astype(np.int64))
    rows = rows[: curve.threshold.size]
    return {name: getattr(curve, name)[rows].tolist() for name in ("threshold", "answered", "correct")}


def load_curve(values: Mapping[Any, Any], count: int) -> ThresholdCurve:
    """Read what `dump_curve` wrote.

    Args:
        values: the lists by name.
        count: all photos, to tell the coverage.

    Raises:
        ValueError: a column is missing or of another length.
    """
    try:
        threshold = np.asarray(values["threshold"], dtype=np.float64)
        answered = np.asarray(values["answered"], dtype=np.int64)
        correct = np.asarray(values["correct"], dtype=np.int64)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no curve of precision and coverage ({error})") from None
    if not threshold.shape == answered.shape == correct.shape:
        raise ValueError("a curve of precision and coverage with columns of different lengths")
    return ThresholdCurve(threshold, answered, correct, answered / max(1, count), correct / answered)
