"""Optimizers and their parameter groups."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
import torch

from assay.core.errors import UsageError
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training.optimizers import frozen_stage_count, make_optimizer, parameter_groups, set_learning_rate

MakeRecipe = Callable[..., Recipe]
MakeNetwork = Callable[[Recipe], ClassifierNetwork]


def ids(parameters: Iterable[torch.nn.Parameter]) -> set[int]:
    return {id(parameter) for parameter in parameters}


@pytest.mark.parametrize("strategy", ["scratch", "finetune", "staged", "probe"])
def test_every_trainable_parameter_is_in_one_group(make_recipe: MakeRecipe, make_network: MakeNetwork, strategy: str):
    recipe = make_recipe(strategy=strategy, weight_decay=0.1)
    network = make_network(recipe)
    grouped = [parameter for group in parameter_groups(network, recipe.train) for parameter in group.parameters]
    expected = network.head.parameters() if strategy == "probe" else network.parameters()
    assert len(grouped) == len(ids(grouped))
    assert ids(grouped) == ids(expected)


def test_biases_and_norms_have_no_weight_decay(make_recipe: MakeRecipe, make_network: MakeNetwork):
    recipe = make_recipe(weight_decay=0.1)
    network = make_network(recipe)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    for group in parameter_groups(network, recipe.train):
        for parameter in group.parameters:
            assert group.weight_decay == (0.1 if parameter.ndim > 1 else 0.0), names[id(parameter)]
    still = [group for group in parameter_groups(network, recipe.train) if group.weight_decay == 0]
    assert "head.fc.bias" in {names[id(parameter)] for group in still for parameter in group.parameters}


def test_learning_rates_rise_geometrically_from_stem_to_head(make_recipe: MakeRecipe, make_network: MakeNetwork):
    recipe = make_recipe(strategy="staged", staged={"early_lr_factor": 0.01})
    network = make_network(recipe)
    scales = [
        {group.scale for group in parameter_groups(network, recipe.train) if ids(group.parameters) & ids(stage)}
        for stage in network.parameter_stages()
    ]
    found = [scale for (scale,) in scales]
    assert found[0] == pytest.approx(0.01)
    assert found[-1] == 1.0
    ratios = [later / earlier for earlier, later in pairwise(found)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))


def test_frozen_stages_are_left_out(make_recipe: MakeRecipe, make_network: MakeNetwork):
    recipe = make_recipe(freeze=1)
    network = make_network(recipe)
    grouped = ids(parameter for group in parameter_groups(network, recipe.train) for parameter in group.parameters)
    first, *others = network.parameter_stages()
    assert not grouped & ids(first)
    assert grouped == ids(parameter for stage in others for parameter in stage)


def test_freeze_with_a_strategy_that_ignores_it_is_rejected(make_recipe: MakeRecipe, make_network: MakeNetwork):
    recipe = make_recipe(strategy="staged", freeze=1)
    with pytest.raises(UsageError, match=r"train\.freeze is 1.*staged"):
        frozen_stage_count(make_network(recipe), recipe.train)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_recipe_selects_the_optimizer(
    make_recipe: MakeRecipe, make_network: MakeNetwork, name: str, kind: type[torch.optim.Optimizer]
):
    recipe = make_recipe(optimizer=name, momentum=0.7, weight_decay=0.1)
    optimizer = make_optimizer(parameter_groups(make_network(recipe), recipe.train), recipe.train)
    assert type(optimizer) is kind
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.1}
    assert all(group.get("momentum", 0.7) == 0.7 for group in optimizer.param_groups)


def test_learning_rate_is_scaled_per_group(make_recipe: MakeRecipe, make_network: MakeNetwork):
    recipe = make_recipe(strategy="staged", staged={"early_lr_factor": 0.1})
    optimizer = make_optimizer(parameter_groups(make_network(recipe), recipe.train), recipe.train)
    set_learning_rate(optimizer, 0.5)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert min(rates) == pytest.approx(0.05)
    assert rates[-1] == 0.5
