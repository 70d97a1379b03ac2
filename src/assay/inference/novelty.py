"""Detect out-of-distribution images by their embeddings.

The detector models the training embeddings by one mean per class and a covariance shared by all classes, in the form of
probabilistic principal components: a few main directions with their variances, and one variance for all others. The
score is the Mahalanobis distance to the nearest mean. It detects other subjects, cameras and noise, but not a new class
whose embeddings are close to those of a known one.

Sources: K. Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks"
(2018); M. Tipping and C. Bishop, "Probabilistic Principal Component Analysis" (1999).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import numpy.typing as npt

MAX_COMPONENTS = 64
"""Maximum number of main directions, besides an eighth of the embedding length and half of the images."""

_MIN_RELATIVE_VARIANCE = 1e-4
"""Minimum variance of a feature as a share of the mean: a feature that is always 0 must not dominate."""

_MIN_NORM = 1e-6
"""Length of a direction as a share of the first one, below which its rounding errors are too large."""

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """Out-of-distribution detector; created by `fit_novelty`.

    Attributes:
        centre: mean of all training embeddings, float32 [D].
        scale: standard deviation of every feature, float32 [D], above 0; features are divided by it.
        classes: class means in scaled features, float32 [C, D].
        directions: main within-class directions in scaled features, float16 [K, D], of length 1.
        variances: variance along each direction, float32 [K], above 0.
        rest: variance along any other direction, float32 [1], above 0.
        limit: distance above which an image is out of distribution, float32 [1], above 0; a `score` of 1.
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
                raise ValueError(f"{name} is not a finite array of shape {list(shape)}")
        if not length or not len(self.classes):
            raise ValueError("there are no class means")
        if min(float(getattr(self, name).min()) for name in ("scale", "rest", "limit")) <= 0:
            raise ValueError("a scale is not above 0")
        if (self.variances <= 0).any():
            raise ValueError("a variance is not above 0")

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> Self:
        """Create a detector from the output of `tensors`; `ValueError` if a tensor is missing, unknown or invalid."""
        names = {field.name for field in fields(cls)}
        if set(tensors) != names:
            raise ValueError(f"its tensors are {sorted(tensors)}, not {sorted(names)}")
        return cls(**tensors)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return all attributes by name, for storage."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def with_limit(self, limit: float) -> Self:
        """Return a copy with another limit, a distance above 0."""
        return replace(self, limit=np.array([limit], dtype=np.float32))

    def distance(self, embedding: Floats) -> npt.NDArray[np.float64]:
        """Return the distance of embeddings [N, D] to the nearest class mean, normalised per feature.

        About 1 in distribution. Raises `ValueError` if the embeddings have another length.
        """
        if embedding.ndim != 2 or embedding.shape[1] != self.centre.size:
            raise ValueError(f"embeddings have shape {list(embedding.shape)}, not [N, {self.centre.size}]")
        directions = self.directions.astype(np.float64)
        # Main directions use their own variance instead of the common one.
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
        """Return the distance of embeddings [N, D] divided by the limit: above 1 is out of distribution."""
        result: npt.NDArray[np.float64] = self.distance(embedding) / float(self.limit[0])
        return result


def fit_novelty(embedding: Floats, targets: npt.NDArray[np.int64]) -> NoveltyDetector:
    """Fit the detector to training embeddings; the limit is 1 until `with_limit` sets it.

    Args:
        embedding: float array [N, D], N at least 2.
        targets: int64 array [N], class indices.

    Raises:
        ValueError: there are fewer than two images, or the shapes do not match.
    """
    if embedding.ndim != 2 or len(embedding) < 2 or targets.shape != embedding.shape[:1]:
        raise ValueError(f"cannot fit embeddings of shape {list(embedding.shape)} with {targets.size} targets")
    rows = embedding.astype(np.float64)
    centre, variance = rows.mean(axis=0), rows.var(axis=0)
    scale = np.sqrt(variance + max(_MIN_RELATIVE_VARIANCE * variance.mean(), np.finfo(np.float32).tiny))
    scaled = (rows - centre) / scale
    classes = np.stack([scaled[targets == target].mean(axis=0) for target in np.unique(targets)])
    within = scaled - classes[np.searchsorted(np.unique(targets), targets)]
    count = min(MAX_COMPONENTS, within.shape[1] // 8, (len(within) - len(classes)) // 2)
    directions, variances, rest = _principal_components(within, max(0, count))
    return NoveltyDetector(
        centre=centre.astype(np.float32),
        scale=scale.astype(np.float32),
        classes=classes.astype(np.float32),
        # C order: safetensors stores other orders incorrectly.
        directions=directions.astype(np.float16, order="C"),
        variances=variances.astype(np.float32),
        rest=np.array([rest], dtype=np.float32),
        limit=np.ones(1, dtype=np.float32),
    )


def _principal_components(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return main directions [K, D] of centred rows, their variances, and the mean of the other variances."""
    images, length = rows.shape
    if images < length:
        # The products of the rows have the same variances, and there are fewer of them.
        variances, vectors = np.linalg.eigh(rows @ rows.T / images)
        variances = np.maximum(np.concatenate([variances[::-1], np.zeros(length - images)]), 0)
        directions = vectors.T[::-1][:count] @ rows
        norms = np.linalg.norm(directions, axis=1, keepdims=True)
        count = int((norms[:, 0] > _MIN_NORM * max(float(norms.max(initial=0)), np.finfo(np.float64).tiny)).sum())
        directions = directions[:count] / norms[:count]
    else:
        variances, vectors = np.linalg.eigh(rows.T @ rows / images)
        variances, directions = np.maximum(variances[::-1], 0), vectors.T[::-1][:count]
    # The sign is arbitrary; this makes it reproducible.
    peaks = directions[np.arange(count), np.abs(directions).argmax(axis=1)] if count else np.ones(0)
    directions = directions * np.sign(peaks)[:, np.newaxis]
    rest = max(float(variances[count:].mean()), 1e-6)
    return directions, np.maximum(variances[:count], rest), rest
