"""The prediction for one image, or why there is none."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.inference.abstention import AbstentionReason
from assay.inference.notebook_views import prediction_html


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        label: the most probable class; if several are equally probable, the first in class order.
        confidence: its calibrated probability, 0-1.
        probabilities: calibrated probabilities of all classes, in class order; they sum to 1.
        source: path of the image as given; None for bytes or pixels.
        unknown: whether the classifier abstains; None if abstention is disabled or the bundle has no thresholds.
        reason: why it abstains.
        novelty: out-of-distribution score, above 1 out of distribution; None if not computed.
    """

    label: str
    confidence: float
    probabilities: dict[str, float]
    source: str | None = None
    unknown: bool | None = None
    reason: AbstentionReason | None = None
    novelty: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `unknown`, `reason` and `novelty` only if abstention is enabled."""
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
    """An image that could not be read.

    Attributes:
        source: its path as given, or its position, "photo 3".
        reason: what is wrong.
        temporary: the storage failed (a disk error, a lost network drive), not the image: reading it again may succeed.
    """

    source: str
    reason: str
    temporary: bool = False

    def __str__(self) -> str:
        return f"{self.source} cannot be read: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"source": self.source, "error": self.reason}


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Convert logits [N, C] to probabilities in float64, without overflow.

    `temperature`, above 0, divides the logits; values above 1 lower the confidence.

    Source: Guo et al., "On Calibration of Modern Neural Networks" (2017), for the temperature.
    """
    wide = logits.astype(np.float64)
    # Subtract the maximum first: divided by a tiny temperature, several logits could overflow.
    with np.errstate(over="ignore"):
        powers = np.exp((wide - wide.max(axis=1, keepdims=True)) / temperature)
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
