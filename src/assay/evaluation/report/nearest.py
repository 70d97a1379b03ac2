"""The training photos that look most like a photo to the network: why it may have said what it said."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from assay.evaluation.predictions import Integers, Predictions

_CELLS = 20_000_000  # similarities held at once


class Neighbour(NamedTuple):
    """A training photo near another photo."""

    id: str
    path: str
    label: str
    similarity: float
    """Cosine of the angle between the embeddings, -1 to 1."""


def nearest(
    predictions: Predictions, rows: Integers, training: Predictions | None, count: int = 3
) -> tuple[tuple[Neighbour, ...], ...]:
    """Find the training photos whose embeddings point most nearly the same way.

    Args:
        predictions: the photos looked at.
        rows: which of them, int64 [R].
        training: the training photos; a photo is never its own neighbour.
        count: most neighbours of a photo.

    Returns:
        Neighbours of each of the R photos, the most similar first; none at all where embeddings are missing
        or of different lengths.
    """
    if training is None or not len(training) or not _comparable(predictions, training):
        return ((),) * len(rows)
    units, asked = _unit(training.embedding), _unit(predictions.embedding)[rows]
    places = {known: place for place, known in enumerate(zip(training.ids, training.paths, strict=True))}
    found: list[tuple[Neighbour, ...]] = []
    step = max(1, _CELLS // len(units))
    for start in range(0, len(rows), step):
        similarity = asked[start : start + step] @ units.T
        for offset, line in enumerate(similarity):
            row = int(rows[start + offset])
            own = places.get((predictions.ids[row], predictions.paths[row]))
            if own is not None:
                line[own] = -np.inf
            found.append(_best(line, training, count))
    return tuple(found)


def _best(similarity: npt.NDArray[np.float32], training: Predictions, count: int) -> tuple[Neighbour, ...]:
    best = np.argpartition(-similarity, min(count, similarity.size - 1))[:count]
    best = best[np.argsort(-similarity[best], kind="stable")]
    return tuple(
        Neighbour(
            training.ids[place],
            training.paths[place],
            training.classes[training.actual[place]],
            float(similarity[place]),
        )
        for place in best
        if np.isfinite(similarity[place])
    )


def _comparable(one: Predictions, other: Predictions) -> bool:
    if one.embedding is None or other.embedding is None:
        return False
    return bool(one.embedding.shape[1] == other.embedding.shape[1])


def _unit(embedding: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32]:
    rows = np.asarray(embedding, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit
