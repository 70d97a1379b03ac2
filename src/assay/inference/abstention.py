"""Abstention: a prediction is `unknown` if its confidence is low or its embedding is out of distribution."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from assay.bundle import Bundle, BundleError, Precision
from assay.inference.novelty import NoveltyDetector

AbstentionReason = Literal["low_confidence", "out_of_distribution"]
"""out_of_distribution: the image is unlike the training images, so its confidence is meaningless."""


class Abstention(NamedTuple):
    """Whether and why a prediction is unknown."""

    reason: AbstentionReason | None
    """None: the prediction is not unknown."""
    novelty: float | None
    """Score of `NoveltyDetector`, above 1 out of distribution; None if the bundle has no detector."""


@dataclass(frozen=True, eq=False)
class AbstentionPolicy:
    """Thresholds below or above which predictions are unknown; None: no check. `confidence` is a minimum, 0-1."""

    confidence: float | None = None
    novelty: NoveltyDetector | None = None

    def decide(self, confidence: np.ndarray, embedding: np.ndarray) -> list[Abstention]:
        """Decide for N predictions from calibrated confidences [N] and embeddings [N, D].

        Raises `ValueError` if the detector was fitted to embeddings of another length.
        """
        if self.novelty is None:
            scores: list[float | None] = [None] * len(confidence)
        else:
            scores = [*self.novelty.score(embedding).tolist()]
        return [
            Abstention(self._reason(value, score), score)
            for value, score in zip(confidence.tolist(), scores, strict=True)
        ]

    def _reason(self, confidence: float, novelty: float | None) -> AbstentionReason | None:
        if novelty is not None and novelty > 1:
            return "out_of_distribution"
        return "low_confidence" if self.confidence is not None and confidence < self.confidence else None


def load_abstention_policy(bundle: Bundle, precision: Precision) -> AbstentionPolicy | None:
    """Return the thresholds for a precision, or None if the bundle has none."""
    confidence, tensors = bundle.info.at(precision).thresholds.get("confidence"), bundle.novelty()
    try:
        novelty = None if tensors is None else NoveltyDetector.from_tensors(tensors)
    except ValueError as error:
        raise BundleError(
            f"{bundle.path} cannot be used: its out-of-distribution detector is invalid ({error})"
        ) from None
    other = bundle.info.others.get(precision)
    if novelty is not None and other is not None and other.novelty is not None:
        novelty = novelty.with_limit(other.novelty)
    return None if confidence is None and novelty is None else AbstentionPolicy(confidence, novelty)
