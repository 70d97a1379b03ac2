"""Linear discriminant analysis: against scikit-learn, with few images, and its mean with logistic regression."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from assay.training import discriminant_analysis
from assay.training.discriminant_analysis import add_discriminant, fit_discriminant
from assay.training.linear_heads import FoldIndices, log_loss
from assay.training.logistic_regression import cross_fit


def blobs(count: int, classes: int, features: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings around one center per class, of unequal scales, and their classes."""
    generator = np.random.default_rng(seed)
    targets = np.arange(count) % classes
    values = generator.normal(0, 1, (classes, features))[targets] + generator.normal(0, spread, (count, features))
    return (values * generator.uniform(0.2, 3, features)).astype(np.float32), targets.astype(np.int64)


@pytest.mark.parametrize("classes", [2, 5])
def test_probabilities_without_shrinkage_are_those_of_scikit_learn(classes: int):
    embeddings, targets = blobs(200, classes, 12, spread=1.5)
    peer = LinearDiscriminantAnalysis(solver="lsqr").fit(embeddings, targets)
    found = np.exp(fit_discriminant(embeddings, targets, classes, 0.0).log_probabilities(embeddings))
    np.testing.assert_allclose(found, peer.predict_proba(embeddings), atol=0.05)


def test_full_shrinkage_ignores_correlations():
    embeddings, targets = blobs(300, 2, 4, spread=1.5)
    doubled = np.concatenate([embeddings, embeddings], axis=1)
    once = fit_discriminant(embeddings, targets, 2, 1.0).weight
    # Copies of all features count twice, as if they were independent.
    np.testing.assert_allclose(fit_discriminant(doubled, targets, 2, 1.0).weight, np.tile(once, 2), rtol=1e-3)
    without = fit_discriminant(doubled, targets, 2, 0.0).weight
    np.testing.assert_allclose(without, np.tile(fit_discriminant(embeddings, targets, 2, 0.0).weight, 2) / 2, rtol=0.02)


def test_fewer_images_than_features_and_constant_features():
    embeddings, targets = blobs(30, 3, 400, spread=1.0)
    embeddings[:, :5] = 2
    head = fit_discriminant(embeddings, targets, 4)
    others, wanted = blobs(90, 3, 400, spread=1.0, seed=0)
    log_probabilities = head.log_probabilities(others)
    assert np.isfinite(head.weight).all()
    assert (log_probabilities.argmax(axis=1) == wanted).mean() > 0.95
    assert np.isneginf(log_probabilities[:, 3]).all()


def test_rows_are_added_in_parts(monkeypatch: pytest.MonkeyPatch):
    embeddings, targets = blobs(101, 3, 20, spread=1.5)
    whole = fit_discriminant(embeddings, targets, 3)
    monkeypatch.setattr(discriminant_analysis, "_ROWS", 10)
    parts = fit_discriminant(embeddings, targets, 3)
    np.testing.assert_allclose(parts.weight, whole.weight, rtol=1e-4)
    np.testing.assert_allclose(parts.bias, whole.bias, rtol=1e-4)


def test_equal_embeddings_give_the_class_frequencies():
    head = fit_discriminant(np.ones((4, 3), np.float32), np.array([0, 0, 0, 1]), 2)
    np.testing.assert_allclose(np.exp(head.log_probabilities(np.ones((1, 3), np.float32))), [[0.75, 0.25]], rtol=1e-3)


def test_the_mean_is_predicted_out_of_fold_and_better_with_few_images():
    embeddings, targets = blobs(60, 3, 300, spread=3.0)
    rows = np.arange(60)
    repeats = [[FoldIndices(rows[rows % 5 != k], rows[rows % 5 == k]) for k in range(5)]]
    fit = cross_fit(embeddings, targets, 3, repeats[0])
    (mean,), temperatures = add_discriminant([fit], repeats, embeddings, targets, 3)
    assert all(0.1 <= temperature <= 100 for temperature in temperatures)
    np.testing.assert_array_equal(mean.rows, fit.rows)
    for number, fold in enumerate(repeats[0]):
        places = np.isin(mean.rows, fold.held_out)
        np.testing.assert_allclose(
            mean.log_probabilities[places], mean.heads[number].log_probabilities(embeddings[mean.rows[places]])
        )
    assert log_loss(mean.log_probabilities, targets[mean.rows]) < log_loss(fit.log_probabilities, targets[fit.rows])


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_one_image_of_each_class_or_copies_of_it_give_the_nearest_one(copies: int, noise: float):
    """Then nothing is known about the variance within classes."""
    centers, classes = blobs(3, 3, 1000, spread=1.0)
    embeddings, targets = np.repeat(centers, copies, axis=0), np.repeat(classes, copies)
    embeddings += np.random.default_rng(1).normal(0, noise, embeddings.shape).astype(np.float32)
    head = fit_discriminant(embeddings, targets, 3)
    others, _ = blobs(30, 3, 1000, spread=0.1)
    found = head.log_probabilities(others)
    assert np.isfinite(found).all()
    distances = ((others[:, None] - centers[None]) ** 2).sum(axis=2)
    assert (found.argmax(axis=1) == distances.argmin(axis=1)).mean() > 0.9
    same = fit_discriminant(np.ones((2, 5), np.float32), np.array([0, 1]), 2)
    np.testing.assert_allclose(same.log_probabilities(np.ones((1, 5), np.float32)), np.log(0.5))
