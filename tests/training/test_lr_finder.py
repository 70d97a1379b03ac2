"""The learning-rate range test."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.core.errors import AssayError
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training import LabeledImages, find_learning_rate
from assay.training.lr_finder import steepest_rate

MakeRecipe = Callable[..., Recipe]
MakeNetwork = Callable[[Recipe], ClassifierNetwork]
MakeSplit = Callable[..., LabeledImages]


@pytest.mark.slow
def test_suggestion_is_between_too_slow_and_divergence(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, tmp_path: Path
):
    recipe = make_recipe()
    finding = find_learning_rate(make_network(recipe), recipe, make_split(), plot=tmp_path / "lr.png", high=10)
    assert 1e-5 < finding.suggestion < 1
    assert len(finding.rates) == len(finding.losses) <= 100
    assert all(math.isfinite(loss) for loss in finding.losses)
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("strategy", ["scratch", "finetune", "staged", "probe"])
def test_network_is_not_changed(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, strategy: str
):
    recipe = make_recipe(strategy=strategy)
    network = make_network(recipe)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    find_learning_rate(network, recipe, make_split(), steps=20)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_range_test_is_reproducible(make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit):
    recipe = make_recipe()
    findings = [find_learning_rate(make_network(recipe), recipe, make_split(), steps=30) for _ in range(2)]
    assert findings[0] == findings[1]


def test_steepest_point_of_a_known_curve_is_found():
    rates = np.geomspace(1e-6, 1, 61)
    losses = 1 / (1 + (rates / 1e-3) ** 2)
    assert steepest_rate(rates.tolist(), losses.tolist()) == pytest.approx(1e-3, rel=0.2)


def test_curve_after_the_minimum_is_ignored():
    rates = np.geomspace(1e-6, 1, 61).tolist()
    losses = [1 - index * 0.01 for index in range(30)] + [5.0] * 20 + [2.0] * 11
    assert steepest_rate(rates, losses) < rates[30]


def test_divergence_from_the_start_raises(make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit):
    recipe = make_recipe(optimizer="sgd")
    with pytest.raises(AssayError, match="diverges from the first steps on"):
        find_learning_rate(make_network(recipe), recipe, make_split(), low=1e20, high=1e30)


@pytest.mark.parametrize(
    "settings", [{"low": 0.0}, {"low": 1.0, "high": 0.1}, {"steps": 19}], ids=["low", "high", "steps"]
)
def test_invalid_ranges_are_rejected(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, settings: dict[str, Any]
):
    recipe = make_recipe()
    with pytest.raises(ValueError, match="0 < low < high and 20 steps"):
        find_learning_rate(make_network(recipe), recipe, make_split(), **settings)
