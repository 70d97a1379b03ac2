"""Abstention: a prediction is `unknown` if its confidence is low or its embedding is out of distribution."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

MAX_COMPONENTS = 64
"""Most main directions; also at most an eighth of the embedding's length and half of the photos."""
_MIN_RELATIVE_VARIANCE = 1e-4
"""A feature varies by at least this share of the mean: one that never fired must not decide alone."""

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """What familiar embeddings look like. Make it with `fit_novelty`.

    Attributes:
        centre: mean of all training embeddings, float32 [D].
        scale: standard deviation of every feature, float32 [D], above 0; features are divided by it.
        classes: centres of the classes, scaled, float32 [C, D].
        directions: main directions within classes, scaled, float16 [K, D]; each of length 1.
        variances: variance along each, float32 [K], above 0.
        rest: variance along any other direction, float32 [1], above 0.
        limit: distance from which on a photo is unfamiliar, float32 [1], above 0; a `score` of 1.
    """

    centre: Floats
    scale: Floats
    classes: Floats
    directions: Floats
    variances: Floats
    rest: Floats
    limit: Floats

    def __post_init__(self) -> None:
        length = self.centre.size
        shapes = {
            "centre": (length,),
            "scale": (length,),
            "classes": (self.classes.shape[0], length),
            "directions": (self.variances.size, length),
            "variances": (self.variances.size,),
            "rest": (1,),
            "limit": (1,),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value.shape != shape or value.dtype.kind != "f" or not np.isfinite(value).all():
                raise ValueError(f"{name} is no finite array of shape {list(shape)}")
        if not length or not len(self.classes):
            raise ValueError("there is nothing to compare with")
        if min(float(getattr(self, name).min()) for name in ("scale", "rest", "limit")) <= 0:
            raise ValueError("a scale is not above 0")
        if (self.variances <= 0).any():
            raise ValueError("a variance is not above 0")

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> Self:
        """Read what `tensors` gave.

        Raises:
            ValueError: a tensor is missing, unknown, of another shape or not finite.
        """
        names = {field.name for field in fields(cls)}
        if set(tensors) != names:
            raise ValueError(f"it holds {sorted(tensors)}, not {sorted(names)}")
        return cls(**tensors)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return everything by name, to be stored."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def with_limit(self, limit: float) -> Self:
        """Return the same with another limit: a distance above 0."""
        return replace(self, limit=np.array([limit], dtype=np.float32))

    def distance(self, embedding: Floats) -> npt.NDArray[np.float64]:
        """Return how far embeddings lie from the nearest class, a feature: about 1 for familiar ones.

        Args:
            embedding: float array [N, D].

        Raises:
            ValueError: the embeddings are of another length.
        """
        if embedding.ndim != 2 or embedding.shape[1] != self.centre.size:
            raise ValueError(f"embeddings {list(embedding.shape)} for a novelty of [N, {self.centre.size}]")
        directions = self.directions.astype(np.float64)
        # Along main directions a deviation counts by their own variance instead of the common one.
        weights = 1 / self.variances.astype(np.float64) - 1 / float(self.rest[0])
        scaled = (embedding.astype(np.float64) - self.centre) / self.scale
        squares = np.full(len(scaled), np.inf)
        for centre in self.classes.astype(np.float64):
            away = scaled - centre
            along = away @ directions.T
            square = (away**2).sum(axis=1) / float(self.rest[0]) + along**2 @ weights
            squares = np.minimum(squares, square)
        result: npt.NDArray[np.float64] = np.sqrt(np.maximum(squares, 0) / self.centre.size)
        return result

    def score(self, embedding: Floats) -> npt.NDArray[np.float64]:
        """Return the distance of embeddings [N, D] as a share of the limit: above 1 is unfamiliar."""
        result: npt.NDArray[np.float64] = self.distance(embedding) / float(self.limit[0])
        return result


def fit_novelty(embedding: Floats, targets: npt.NDArray[np.int64]) -> NoveltyDetector:
    """Describe the embeddings of training photos; the limit is 1 until `with_limit` sets it.

    Args:
        embedding: float array [N, D], N at least 2.
        targets: int64 array [N], the class of each.

    Raises:
        ValueError: there are fewer than two photos, or the shapes do not fit.
    """
    if embedding.ndim != 2 or len(embedding) < 2 or targets.shape != embedding.shape[:1]:
        raise ValueError(f"no novelty from embeddings {list(embedding.shape)} of {targets.size} photos")
    rows = embedding.astype(np.float64)
    centre, variance = rows.mean(axis=0), rows.var(axis=0)
    scale = np.sqrt(variance + max(_MIN_RELATIVE_VARIANCE * variance.mean(), np.finfo(np.float32).tiny))
    scaled = (rows - centre) / scale
    classes = np.stack([scaled[targets == one].mean(axis=0) for one in np.unique(targets)])
    within = scaled - classes[np.searchsorted(np.unique(targets), targets)]
    count = min(MAX_COMPONENTS, within.shape[1] // 8, (len(within) - len(classes)) // 2)
    directions, variances, rest = _principal_components(within, max(0, count))
    return NoveltyDetector(
        centre=centre.astype(np.float32),
        scale=scale.astype(np.float32),
        classes=classes.astype(np.float32),
        # In C order: safetensors stores other orders wrongly.
        directions=directions.astype(np.float16, order="C"),
        variances=variances.astype(np.float32),
        rest=np.array([rest], dtype=np.float32),
        limit=np.ones(1, dtype=np.float32),
    )


def _principal_components(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Main directions [K, D] of centred rows, the variances along them, and the mean of all others."""
    variances, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    variances, directions = np.maximum(variances[::-1], 0), vectors.T[::-1][:count]
    # Either sign serves; this one is always the same.
    peaks = directions[np.arange(count), np.abs(directions).argmax(axis=1)] if count else np.ones(0)
    directions = directions * np.sign(peaks)[:, np.newaxis]
    rest = max(float(variances[count:].mean()), 1e-6)
    return directions, np.maximum(variances[:count], rest), rest


AbstentionReason = Literal["unsure", "unfamiliar"]
"""unsure: the confidence is below its threshold; unfamiliar: the photo is unlike those of the training, and
its confidence means nothing."""


class Abstention(NamedTuple):
    """What is to be said against one answer."""

    reason: AbstentionReason | None
    """Why the answer is unknown; None: nothing is against it."""
    novelty: float | None
    """How unlike the training photos it is: above 1 is unfamiliar; None where the bundle cannot tell."""


@dataclass(frozen=True, eq=False)
class AbstentionPolicy:
    """Where answers end.

    Attributes:
        confidence: least confidence of an answer, 0-1; None: any will do.
        novelty: what familiar embeddings look like; None: all pass.
    """

    confidence: float | None = None
    novelty: NoveltyDetector | None = None

    def doubts(self, confidence: np.ndarray, embedding: np.ndarray) -> list[Abstention]:
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
            Abstention(self._reason(sure, score), score)
            for sure, score in zip(confidence.tolist(), scores, strict=True)
        ]

    def _reason(self, confidence: float, novelty: float | None) -> AbstentionReason | None:
        if novelty is not None and novelty > 1:
            return "unfamiliar"
        return "unsure" if self.confidence is not None and confidence < self.confidence else None
