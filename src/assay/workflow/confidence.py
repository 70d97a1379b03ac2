"""How a classifier's confidence does on labelled photos: is it honest, and what does it leave unsaid?

Changes nothing: another target precision is looked up among what validation photos once said.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from assay.errors import UsageError
from assay.evaluation import (
    Answered,
    CalibrationFigures,
    Predictions,
    Selection,
    apply_temperature,
    calibration_figures,
    choose_threshold,
    count_answered,
    load_curve,
)
from assay.evaluation.confidence_histogram import confidence_histogram
from assay.inference import Classifier
from assay.inference.choice import held_precision


@dataclass(frozen=True)
class Assessment:
    """The confidence on one set of photos.

    Attributes:
        before: figures at temperature 1; None without photos.
        after: figures at the bundle's temperature; None without photos.
        threshold: least confidence that is answered; None where the classifier has none.
        answered: how many answers there are and how many are right; None where it has no limits.
        histogram: how many photos have which confidence, as `confidence_histogram` tells it; a server
            compares what it is asked with those of the validation photos.
    """

    before: CalibrationFigures | None
    after: CalibrationFigures | None
    threshold: float | None
    answered: Answered | None
    histogram: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "before": None if self.before is None else asdict(self.before),
            "after": None if self.after is None else asdict(self.after),
            "threshold": self.threshold,
            "answered": None if self.answered is None else self.answered.to_dict(),
            "histogram": self.histogram,
        }


def assess(classifier: Classifier, predictions: Predictions, threshold: float | None = None) -> Assessment:
    """Measure the confidence of predictions that a classifier made.

    Args:
        classifier: who made them.
        predictions: on photos that neither taught it nor set its limits, if the figures are to mean anything.
        threshold: least confidence that is answered; none: the bundle's.
    """
    if threshold is None:
        threshold = classifier.info.thresholds.get("confidence")
    before = after = None
    if len(predictions):
        after = calibration_figures(predictions)
        raw = predictions.log_probabilities * classifier.info.temperature
        before = calibration_figures(replace(predictions, probabilities=apply_temperature(raw, 1.0)))
    histogram = confidence_histogram(predictions.confidence)
    familiar = _familiar(classifier, predictions)
    if threshold is None and familiar is None:
        return Assessment(before, after, None, None, histogram)
    passing = np.ones(len(predictions), dtype=np.bool_) if familiar is None else familiar
    answered = count_answered(predictions.confidence, predictions.correct, passing, threshold or 0.0)
    return Assessment(before, after, threshold, answered, histogram)


def choose_again(classifier: Classifier, target: float) -> Selection:
    """Choose a threshold for another precision, from what the bundle knows of its validation photos.

    Args:
        classifier: the opened bundle, which is not changed.
        target: wanted precision, between 0 and 1.

    Raises:
        UsageError: `target` is no such share, or the bundle was trained without abstaining.
    """
    if not 0 < target < 1:
        raise UsageError(f"the target precision is {target:g}: give a share between 0 and 1, such as 0.99")
    usual = classifier.info if classifier.bundle is None else classifier.bundle.info
    if held_precision(classifier.precision) != usual.precision:
        raise UsageError(
            f"{classifier.info.name} knows how sure it was at {usual.precision} alone, so no other threshold "
            f"can be chosen at {classifier.precision}: leave out the precision or the target"
        )
    match classifier.info.metrics.get("confidence"):
        case {"abstaining": {"count": int(count), "curve": {**curve}}}:
            try:
                return choose_threshold(load_curve(curve, count), count, target)
            except ValueError as error:
                raise UsageError(f"{classifier.info.name} cannot choose another threshold: {error}") from None
        case _:
            raise UsageError(
                f"{classifier.info.name} does not know how sure it was on validation photos, so no other "
                "threshold can be chosen: train it with abstain.enabled=true"
            )


def _familiar(classifier: Classifier, predictions: Predictions) -> np.ndarray | None:
    limits = classifier.limits
    if limits is None or limits.novelty is None or predictions.embedding is None:
        return None
    familiar: np.ndarray = limits.novelty.score(predictions.embedding) <= 1
    return familiar
