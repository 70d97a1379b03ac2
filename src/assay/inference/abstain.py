"""Whether an answer is to be trusted: too little confidence, or a photo unlike those of the training.

Knows nothing of how the limits were found; they come with the bundle.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from assay.inference.novelty import Novelty

Reason = Literal["unsure", "unfamiliar"]
"""unsure: the confidence is below its threshold; unfamiliar: the photo is unlike those of the training, and
its confidence means nothing."""


class Doubt(NamedTuple):
    """What is to be said against one answer."""

    reason: Reason | None
    """Why the answer is unknown; None: nothing is against it."""
    novelty: float | None
    """How unlike the training photos it is: above 1 is unfamiliar; None where the bundle cannot tell."""


@dataclass(frozen=True, eq=False)
class Limits:
    """Where answers end.

    Attributes:
        confidence: least confidence of an answer, 0-1; None: any will do.
        novelty: what familiar embeddings look like; None: all pass.
    """

    confidence: float | None = None
    novelty: Novelty | None = None

    def doubts(self, confidence: np.ndarray, embedding: np.ndarray) -> list[Doubt]:
        """Judge N answers.

        Args:
            confidence: calibrated, float array [N].
            embedding: float array [N, D].

        Raises:
            ValueError: the embeddings are not of the length that the limits were made for.
        """
        if self.novelty is None:
            scores: list[float | None] = [None] * len(confidence)
        else:
            scores = [*self.novelty.score(embedding).tolist()]
        return [
            Doubt(self._reason(sure, score), score)
            for sure, score in zip(confidence.tolist(), scores, strict=True)
        ]

    def _reason(self, confidence: float, novelty: float | None) -> Reason | None:
        if novelty is not None and novelty > 1:
            return "unfamiliar"
        return "unsure" if self.confidence is not None and confidence < self.confidence else None
