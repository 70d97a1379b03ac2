"""Nearest training images of mistakes."""

from collections.abc import Callable

import numpy as np
import pytest

from assay.evaluation import Predictions
from assay.evaluation.report.report_data import nearest_training_photos

Make = Callable[..., Predictions]


def with_embedding(make: Make, rows: np.ndarray, prefix: str) -> Predictions:
    names = tuple(f"{prefix}{place}" for place in range(len(rows)))
    return make([place % 3 for place in range(len(rows))], embedding=rows.astype(np.float32), ids=names, paths=names)


def test_most_similar_first_and_never_itself(make: Make):
    known = with_embedding(make, np.array([[1, 0], [3, 1], [0, 3], [-4, -4]]), "t")  # the mean is 0
    requested = with_embedding(make, np.array([[5, 0.0], [0, 0.1]]), "q")
    first, second = nearest_training_photos(requested, np.array([0, 1]), known, 2)
    assert [item.id for item in first] == ["t0", "t1"]
    assert [item.id for item in second] == ["t2", "t1"]
    assert first[0].similarity == pytest.approx(1)
    assert first[1].label == "dog"
    itself = nearest_training_photos(known, np.array([0]), known, 3)[0]
    assert [item.id for item in itself] == ["t1", "t2", "t3"]


def test_a_feature_with_large_values_does_not_decide(make: Make):
    rng = np.random.default_rng(0)
    rows = np.column_stack([1000 + 10 * rng.normal(size=100), rng.normal(size=(100, 6))])
    known = with_embedding(make, rows, "t")
    changed = rows[:20].copy()
    changed[:, 0] += 3
    for row, (nearest,) in enumerate(
        nearest_training_photos(with_embedding(make, changed, "q"), np.arange(20), known, 1)
    ):
        assert nearest.id == f"t{row}"


def test_agrees_with_brute_force(make: Make):
    rng = np.random.default_rng(3)
    known = with_embedding(make, rng.normal(size=(200, 8)), "t")
    requested = with_embedding(make, rng.normal(size=(20, 8)), "q")
    assert known.embedding is not None
    assert requested.embedding is not None
    for row, found in enumerate(nearest_training_photos(requested, np.arange(20), known, 5)):
        mean, variance = known.embedding.mean(axis=0), known.embedding.var(axis=0)
        scale = np.sqrt(variance + 0.1 * variance.mean())
        item, others = (requested.embedding[row] - mean) / scale, (known.embedding - mean) / scale
        cosines = others @ item / np.linalg.norm(others, axis=1) / np.linalg.norm(item)
        assert [f"t{place}" for place in np.argsort(-cosines)[:5]] == [neighbour.id for neighbour in found]


def test_no_neighbors_without_embeddings(make: Make):
    plain = make([0, 1, 2])
    known = with_embedding(make, np.eye(3), "t")
    rows = np.array([0, 1])
    assert nearest_training_photos(plain, rows, known) == ((), ())
    assert nearest_training_photos(known, rows, plain) == ((), ())
    assert nearest_training_photos(known, rows, None) == ((), ())
    assert nearest_training_photos(with_embedding(make, np.eye(2), "q"), rows, known) == ((), ())
    assert nearest_training_photos(known, rows[:0], known) == ()
    zeros = with_embedding(make, np.zeros((2, 3)), "z")
    assert len(nearest_training_photos(zeros, rows, known, 2)[0]) == 2
