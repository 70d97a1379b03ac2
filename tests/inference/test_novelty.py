"""The novelty detector: in-distribution embeddings pass, others do not, and storage is exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from assay.inference import NoveltyDetector, fit_novelty

LENGTH, CLASSES = 48, 3


def embeddings(count: int, seed: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that vary strongly in four directions and little in all others; one feature is dead."""
    world = np.random.default_rng(7)
    centres, ways = world.normal(size=(CLASSES, LENGTH)), world.normal(size=(4, LENGTH))
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, CLASSES, count)
    rows = centres[targets] + 2 * rng.normal(size=(count, 4)) @ ways + 0.1 * rng.normal(size=(count, LENGTH))
    rows += offset * world.normal(size=LENGTH) / np.sqrt(LENGTH)
    rows[:, 5] = 0
    return rows.astype(np.float32), targets


@pytest.fixture(scope="module")
def novelty() -> NoveltyDetector:
    return fit_novelty(*embeddings(1000, seed=0))


def test_in_distribution_distances_are_about_one(novelty: NoveltyDetector):
    distance = novelty.distance(embeddings(500, seed=1)[0])
    assert 0.8 < np.median(distance) < 1.2


def test_shift_smaller_than_the_main_variation_is_detected(novelty: NoveltyDetector):
    familiar = novelty.distance(embeddings(500, seed=1)[0])
    shifted = novelty.distance(embeddings(500, seed=1, offset=5)[0])
    assert shifted.min() > familiar.max()
    # The Euclidean distance to the class means does not separate the two.
    rows, targets = embeddings(1000, seed=0)
    centres = np.stack([rows[targets == item].mean(axis=0) for item in range(CLASSES)])
    near, far = (
        np.linalg.norm(embeddings(500, seed=1, offset=offset)[0][:, np.newaxis] - centres, axis=2).min(axis=1)
        for offset in (0, 5)
    )
    assert (far > np.quantile(near, 0.97)).mean() < 0.5


def test_constant_feature_is_detected_with_a_bounded_score(novelty: NoveltyDetector):
    rows = embeddings(10, seed=1)[0]
    rows[:, 5] = 5
    distance = novelty.distance(rows)
    assert (distance > 2).all()
    assert (distance < 1000).all()


def test_score_is_one_at_the_limit(novelty: NoveltyDetector):
    rows = embeddings(20, seed=2)[0]
    limited = novelty.with_limit(float(novelty.distance(rows)[3]))
    assert limited.score(rows)[3] == pytest.approx(1, rel=1e-6)
    assert novelty.limit.tolist() == [1.0]


def test_score_does_not_depend_on_the_batch(novelty: NoveltyDetector):
    rows = embeddings(20, seed=3)[0]
    np.testing.assert_allclose(novelty.score(rows)[7], novelty.score(rows[7:8])[0], rtol=1e-12)


def test_stored_detector_is_small_and_survives_a_round_trip(novelty: NoveltyDetector):
    tensors = novelty.tensors()
    again = NoveltyDetector.from_tensors(load(save(tensors)))
    rows = embeddings(30, seed=4)[0]
    np.testing.assert_array_equal(again.score(rows), novelty.score(rows))
    assert tensors["directions"].dtype == np.float16
    assert tensors["directions"].shape == (LENGTH // 8, LENGTH)


def test_fitting_is_reproducible():
    first, second = (fit_novelty(*embeddings(200, seed=0)).tensors() for _ in range(2))
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


@given(st.integers(2, 12), st.integers(1, 20), st.integers(0, 10))
def test_few_images_give_finite_distances(count: int, length: int, seed: int):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, length)).astype(np.float32)
    fitted = fit_novelty(rows, rng.integers(0, 2, count))
    assert np.isfinite(fitted.distance(rows)).all()
    assert np.isfinite(fitted.distance(rows + 100)).all()


def test_identical_embeddings_give_finite_distances():
    fitted = fit_novelty(np.ones((5, 8), dtype=np.float32), np.zeros(5, dtype=np.int64))
    assert (fitted.distance(np.ones((2, 8))) < 1).all()
    assert (fitted.distance(np.full((2, 8), 2.0)) > 1).all()


@pytest.mark.parametrize(("rows", "targets"), [((1, 4), 1), ((4,), 4), ((3, 4), 2)])
def test_invalid_embeddings_raise(rows: tuple[int, ...], targets: int):
    with pytest.raises(ValueError, match="cannot fit embeddings"):
        fit_novelty(np.zeros(rows), np.zeros(targets, dtype=np.int64))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("centre", np.zeros(3, dtype=np.float32)),
        ("scale", np.zeros(LENGTH, dtype=np.float32)),
        ("limit", np.array([np.nan], dtype=np.float32)),
        ("limit", np.array([-1.0], dtype=np.float32)),
        ("rest", np.ones(2, dtype=np.float32)),
        ("classes", np.zeros((0, LENGTH), dtype=np.float32)),
        ("variances", np.zeros(6, dtype=np.float32)),
        ("directions", np.zeros((6, LENGTH), dtype=np.int64)),
    ],
)
def test_invalid_files_raise(novelty: NoveltyDetector, name: str, value: np.ndarray):
    with pytest.raises(ValueError, match=r"finite array|above 0|no class means"):
        NoveltyDetector.from_tensors(novelty.tensors() | {name: value})


def test_missing_and_unexpected_tensors_raise(novelty: NoveltyDetector):
    tensors = novelty.tensors()
    with pytest.raises(ValueError, match="its tensors are"):
        NoveltyDetector.from_tensors({"centre": tensors["centre"]})
    with pytest.raises(ValueError, match="its tensors are"):
        NoveltyDetector.from_tensors(tensors | {"more": tensors["centre"]})


def test_embeddings_of_another_network_raise(novelty: NoveltyDetector):
    with pytest.raises(ValueError, match=r"\[N, 48\]"):
        novelty.score(np.zeros((2, 40)))
