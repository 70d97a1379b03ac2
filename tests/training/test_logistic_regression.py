"""Logistic regression on embeddings: optimal, calibrated out of fold, and safe where classes are missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.training.linear_heads import FoldIndices, log_loss
from assay.training.logistic_regression import STRENGTHS, cross_fit, fit_logistic


def blobs(count: int, classes: int, spread: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings around one center per class, and their classes."""
    generator = np.random.default_rng(seed)
    targets = np.arange(count) % classes
    centers = generator.normal(0, 3, (classes, 6))
    return (centers[targets] + generator.normal(0, spread, (count, 6))).astype(np.float32), targets.astype(np.int64)


def folds(count: int, k: int = 4) -> list[FoldIndices]:
    rows = np.arange(count)
    return [FoldIndices(rows[rows // 3 % k != part], rows[rows // 3 % k == part]) for part in range(k)]


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_separated_classes_are_predicted(classes: int):
    embeddings, targets = blobs(140, classes)
    head = fit_logistic(embeddings, targets, classes, 1.0)
    assert head.weight.shape == (classes, 6)
    log_probabilities = head.log_probabilities(embeddings)
    assert (log_probabilities.argmax(axis=1) == targets).mean() > 0.97
    np.testing.assert_allclose(np.exp(log_probabilities).sum(axis=1), 1)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_fit_is_a_minimum_of_the_regularized_loss(classes: int):
    embeddings, targets = blobs(90, classes, spread=4.0)
    scaled = (embeddings - embeddings.mean(axis=0)) / embeddings.std(axis=0)
    head = fit_logistic(scaled, targets, classes, 0.5, variance_floor=0)

    def objective(weight: np.ndarray, bias: np.ndarray) -> float:
        moved = type(head)(weight.astype(np.float32), bias.astype(np.float32))
        # Two classes share one weight vector, so the penalty counts it once.
        return len(targets) * log_loss(moved.log_probabilities(scaled), targets) + (weight**2).sum()

    best = objective(head.weight, head.bias)
    generator = np.random.default_rng(1)
    for _ in range(20):
        change = generator.normal(0, 0.05, head.weight.shape)
        if classes == 2:
            change[0] = 0
        assert objective(head.weight + change, head.bias) >= best - 1e-2


def test_classes_without_images_get_probability_zero():
    embeddings, targets = blobs(60, 2)
    log_probabilities = fit_logistic(embeddings, targets * 2, 4, 1.0).log_probabilities(embeddings)
    assert set(log_probabilities.argmax(axis=1)) == {0, 2}
    assert np.isneginf(log_probabilities[:, [1, 3]]).all()
    assert log_loss(log_probabilities, np.ones(60, np.int64)) == pytest.approx(27.6, abs=0.1)


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-50, 50))
def test_predictions_do_not_depend_on_scale_and_offset(seed: int, scale: float, offset: float):
    embeddings, targets = blobs(30, 3, seed=seed)
    first = fit_logistic(embeddings, targets, 3, 0.1).log_probabilities(embeddings)
    moved = (embeddings * scale + offset).astype(np.float32)
    np.testing.assert_allclose(fit_logistic(moved, targets, 3, 0.1).log_probabilities(moved), first, atol=0.05)


def test_constant_features_are_ignored():
    embeddings, targets = blobs(60, 3)
    constant = np.concatenate([embeddings, np.full((60, 2), 5, np.float32)], axis=1)
    head = fit_logistic(constant, targets, 3, 1.0)
    assert np.isfinite(head.weight).all()
    assert (head.log_probabilities(constant).argmax(axis=1) == targets).mean() > 0.95


def test_cross_fit_predicts_every_image_out_of_fold_and_takes_the_least_loss():
    embeddings, targets = blobs(120, 3, spread=5.0)
    noise = np.random.default_rng(2).normal(0, 1, (120, 100)).astype(np.float32)
    found = cross_fit(np.concatenate([embeddings, noise], axis=1), targets, 3, folds(120))
    assert found.losses[found.strength] == min(found.losses.values())
    # The search ends after two worse strengths in a row, and no candidate before the best one is left out.
    tried = list(found.losses)
    assert tried == list(STRENGTHS[: len(tried)])
    assert tried[-3] == found.strength
    assert sorted(found.rows) == list(range(120))
    loss = log_loss(found.log_probabilities, targets[found.rows])
    assert found.losses[found.strength] <= loss
    for fold, head in zip(folds(120), found.heads, strict=True):
        places = np.flatnonzero(np.isin(found.rows, fold.held_out))
        columns = np.concatenate([embeddings, noise], axis=1)[found.rows[places]]
        np.testing.assert_allclose(found.log_probabilities[places], head.log_probabilities(columns))
    # 100 columns of noise need regularization.
    assert found.strength < max(STRENGTHS)


def test_labels_by_chance_are_not_learned_out_of_fold():
    generator = np.random.default_rng(3)
    embeddings = generator.normal(0, 1, (200, 300)).astype(np.float32)
    targets = generator.integers(0, 2, 200)
    found = cross_fit(embeddings, targets, 2, folds(200))
    assert log_loss(found.log_probabilities, targets[found.rows]) > 0.6


def test_a_variance_floor_limits_the_weights_of_features_that_hardly_vary():
    embeddings, targets = blobs(90, 3)
    faint = (0.001 * np.eye(3, dtype=np.float32))[targets]
    features = np.concatenate([embeddings, faint], axis=1)
    without = fit_logistic(features, targets, 3, 1.0, variance_floor=0)
    limited = fit_logistic(features, targets, 3, 1.0, variance_floor=1.0)
    assert np.abs(without.weight[:, -3:]).max() > 100 * np.abs(limited.weight[:, -3:]).max()
    assert (limited.log_probabilities(features).argmax(axis=1) == targets).mean() > 0.95


def test_features_that_vary_only_in_other_images_do_not_decide():
    """ReLU features that are zero in nearly all of a few training images are large in some held-out ones."""
    embeddings, targets = blobs(40, 2, spread=2.0)
    generator = np.random.default_rng(1)
    rare = np.where(generator.random((40, 300)) < 0.03, generator.gamma(2, 3, (40, 300)), 0)
    rare[:30] *= 1e-3
    features = np.concatenate([embeddings, rare], axis=1).astype(np.float32)
    head = fit_logistic(features[:30], targets[:30], 2, 0.1)
    assert log_loss(head.log_probabilities(features[30:]), targets[30:]) < 0.5
    without = fit_logistic(features[:30], targets[:30], 2, 0.1, variance_floor=0)
    assert log_loss(without.log_probabilities(features[30:]), targets[30:]) > 1
