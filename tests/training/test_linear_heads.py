"""Linear heads: their mean, and the temperature with the lowest loss."""

import numpy as np
import pytest
from scipy.special import log_softmax

from assay.training.linear_heads import LinearHead, best_temperature, calibrated_log_loss, log_loss, mean_head


def test_temperature_lowers_the_loss_of_overconfident_predictions_only():
    targets = np.array([0, 0, 0, 1])
    confident = np.log(np.array([[0.999, 0.001]] * 4))
    assert calibrated_log_loss(confident, targets) < 0.8 < log_loss(confident, targets)
    modest = np.log(np.array([[0.6, 0.4]] * 3 + [[0.4, 0.6]]))
    # Underconfident predictions stay as they are.
    assert calibrated_log_loss(modest, targets) == pytest.approx(log_loss(modest, targets))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 7.0])
def test_the_temperature_of_labels_drawn_from_the_probabilities_is_found(temperature: float):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 3))
    drawn = np.exp(log_softmax(logits, axis=1)).cumsum(axis=1) > generator.random((20_000, 1))
    log_probabilities = log_softmax(temperature * logits, axis=1)
    assert best_temperature(log_probabilities, drawn.argmax(axis=1)) == pytest.approx(temperature, rel=0.05)


def test_the_mean_of_two_heads_averages_their_scaled_logits():
    generator = np.random.default_rng(0)
    heads = [
        LinearHead(generator.normal(size=(3, 4)).astype(np.float32), generator.normal(size=3).astype(np.float32))
        for _ in range(2)
    ]
    embeddings = generator.normal(size=(5, 4)).astype(np.float32)
    found = mean_head(heads[0], heads[1], (2.0, 4.0)).log_probabilities(embeddings)
    wanted = heads[0].log_probabilities(embeddings) / 4 + heads[1].log_probabilities(embeddings) / 8
    np.testing.assert_allclose(found, log_softmax(wanted, axis=1), atol=1e-5)


def test_a_class_without_images_keeps_probability_zero_in_the_mean():
    head = LinearHead(np.zeros((2, 3), np.float32), np.array([0, -np.inf], np.float32))
    found = mean_head(head, head, (1.0, 3.0)).log_probabilities(np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(np.exp(found), [[1, 0], [1, 0]])
