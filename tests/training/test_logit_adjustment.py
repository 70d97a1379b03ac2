"""Logit adjustment moves decisions between the class frequencies of training and equal ones."""

import numpy as np
import pytest
import torch

from assay.nets.heads import Head
from assay.recipe import HeadSpec, TrainSpec
from assay.training.logit_adjustment import Objective, adjust_head, logit_offsets

COUNTS = np.array([900, 90, 10])


@pytest.mark.parametrize(("objective", "balanced"), [("accuracy", False), ("balanced_accuracy", True)])
def test_nothing_is_adjusted_if_training_had_the_frequencies_of_the_objective(objective: Objective, balanced: bool):
    assert not logit_offsets(COUNTS, objective, balanced=balanced).any()


def test_equal_frequencies_are_reached_by_dividing_by_the_training_frequencies():
    offsets = logit_offsets(COUNTS, "balanced_accuracy", balanced=False)
    posterior = np.array([0.9, 0.09, 0.01])
    adjusted = posterior * np.exp(offsets)
    np.testing.assert_allclose(adjusted / adjusted.sum(), 1 / 3)
    np.testing.assert_allclose(offsets, -logit_offsets(COUNTS, "accuracy", balanced=True))


def test_a_class_without_images_keeps_finite_logits():
    assert np.isfinite(logit_offsets(np.array([5, 0]), "balanced_accuracy", balanced=False)).all()


@pytest.mark.parametrize(
    ("objective", "balance", "changed"),
    [
        (None, "none", False),
        (None, "sampler", False),
        ("accuracy", "none", False),
        ("accuracy", "sampler", True),
        ("accuracy", "weights", True),
        ("balanced_accuracy", "none", True),
        ("balanced_accuracy", "sampler", False),
    ],
)
def test_the_bias_of_a_head_follows_objective_and_balance(objective: Objective | None, balance: str, changed: bool):
    head = Head(HeadSpec(), 4, 3)
    before = head.fc.bias.detach().clone()
    spec = TrainSpec.model_validate({"objective": objective, "balance": balance})
    adjust_head(head, np.repeat([0, 1, 2], [6, 3, 1]), spec)
    assert torch.equal(before, head.fc.bias) is not changed
