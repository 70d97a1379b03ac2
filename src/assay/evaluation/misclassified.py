"""The photos that the classifier got wrong, the most confident mistakes first."""

from typing import NamedTuple

import numpy as np

from assay.evaluation.predictions import Predictions


class Mistake(NamedTuple):
    """One misclassified photo."""

    row: int
    """Its index in the predictions."""
    id: str
    path: str
    actual: str
    predicted: str
    confidence: float
    """Probability of the predicted class, 0-1."""
    source_label: str | None


def misclassified(predictions: Predictions) -> tuple[Mistake, ...]:
    """Return every misclassified photo, most confident first; equally confident ones stay in order.

    The first ones deserve a look: they are the classifier's blind spots or errors in the labels.
    """
    rows = np.flatnonzero(~predictions.correct)
    rows = rows[np.argsort(-predictions.confidence[rows], kind="stable")]
    sources = predictions.source_labels
    predicted, confidence = predictions.predicted, predictions.confidence
    return tuple(
        Mistake(
            row=int(row),
            id=predictions.ids[row],
            path=predictions.paths[row],
            actual=predictions.classes[predictions.actual[row]],
            predicted=predictions.classes[predicted[row]],
            confidence=float(confidence[row]),
            source_label=None if sources is None else sources[row],
        )
        for row in rows
    )
