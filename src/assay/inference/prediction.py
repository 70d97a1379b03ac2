"""The prediction for one image, the failure to read one, and softmax with temperature."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.inference.abstention import AbstentionReason
from assay.inference.notebook import prediction_html


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one photo.

    Attributes:
        label: the most probable class; of equals the first in class order.
        confidence: its probability, 0-1.
        probabilities: of all classes, in class order; they add up to 1.
        source: the photo's path as it was given; None for a photo that came as bytes or pixels.
        unknown: whether the label should not be relied upon; None where nobody asked or the bundle has no
            limits.
        reason: why it is unknown.
        novelty: how unlike the training photos the photo is; above 1 is unfamiliar, None where it was not
            told.
    """

    label: str
    confidence: float
    probabilities: dict[str, float]
    source: str | None = None
    unknown: bool | None = None
    reason: AbstentionReason | None = None
    novelty: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; what concerns `unknown` only where it was asked for."""
        values: dict[str, Any] = {
            "source": self.source,
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": dict(self.probabilities),
        }
        if self.unknown is not None:
            values |= {"unknown": self.unknown, "reason": self.reason, "novelty": self.novelty}
        return values

    def _repr_html_(self) -> str:
        return prediction_html(self.label, self.probabilities, self.source, self.reason, unknown=self.unknown is True)


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that could not be read.

    Attributes:
        source: the photo's path as it was given, or its place in the sequence, "photo 3".
        reason: why, in a few words.
    """

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source} cannot be read: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"source": self.source, "error": self.reason}


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Turn logits into probabilities, in 64 bits and without overflow.

    Args:
        logits: float array of shape [N, C].
        temperature: divides the logits, above 0; more than 1 makes the answer less sure.

    Returns:
        float64 array of shape [N, C]; every row adds up to 1.

    Source: Guo et al., "On Calibration of Modern Neural Networks" (2017), for the temperature.
    """
    wide = logits.astype(np.float64)
    # The largest is taken away first: divided by a tiny temperature, two logits may both be infinite.
    with np.errstate(over="ignore"):
        powers = np.exp((wide - wide.max(axis=1, keepdims=True)) / temperature)
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
