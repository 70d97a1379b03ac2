from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
import torch
from torch import nn

from assay.core.errors import UsageError
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training.optimizers import (
    ExponentialMovingAverage,
    frozen_stage_count,
    make_optimizer,
    parameter_groups,
    set_learning_rate,
)

MakeRecipe = Callable[..., Recipe]
MakeNetwork = Callable[[Recipe], ClassifierNetwork]


def ids(parameters: Iterable[torch.nn.Parameter]) -> set[int]:
    return {id(parameter) for parameter in parameters}


@pytest.mark.parametrize("strategy", ["scratch", "finetune", "staged", "probe"])
def test_every_parameter_that_learns_is_in_one_group(make_recipe: MakeRecipe, make_network: MakeNetwork, strategy: str):
    recipe = make_recipe(strategy=strategy, weight_decay=0.1)
    network = make_network(recipe)
    grouped = [parameter for group in parameter_groups(network, recipe.train) for parameter in group.parameters]
    expected = network.head.parameters() if strategy == "probe" else network.parameters()
    assert len(grouped) == len(ids(grouped))
    assert ids(grouped) == ids(expected)


def test_biases_and_norms_never_decay(make_recipe: MakeRecipe, make_network: MakeNetwork):
    recipe = make_recipe(weight_decay=0.1)
    network = make_network(recipe)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    for group in parameter_groups(network, recipe.train):
        for parameter in group.parameters:
            assert group.weight_decay == (0.1 if parameter.ndim > 1 else 0.0), names[id(parameter)]
    still = [group for group in parameter_groups(network, recipe.train) if group.weight_decay == 0]
    assert "head.fc.bias" in {names[id(parameter)] for group in still for parameter in group.parameters}


def test_staged_rates_rise_geometrically_from_the_stem_to_the_head(make_recipe: MakeRecipe, make_network: MakeNetwork):
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


def test_freeze_with_a_strategy_that_ignores_it_is_refused(make_recipe: MakeRecipe, make_network: MakeNetwork):
    recipe = make_recipe(strategy="staged", freeze=1)
    with pytest.raises(UsageError, match=r"train\.freeze is 1.*staged"):
        frozen_stage_count(make_network(recipe), recipe.train)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_the_recipe_names_the_optimiser(
    make_recipe: MakeRecipe, make_network: MakeNetwork, name: str, kind: type[torch.optim.Optimizer]
):
    recipe = make_recipe(optimizer=name, momentum=0.7, weight_decay=0.1)
    optimizer = make_optimizer(parameter_groups(make_network(recipe), recipe.train), recipe.train)
    assert type(optimizer) is kind
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.1}
    assert all(group.get("momentum", 0.7) == 0.7 for group in optimizer.param_groups)


def test_a_rate_reaches_every_group_by_its_scale(make_recipe: MakeRecipe, make_network: MakeNetwork):
    recipe = make_recipe(strategy="staged", staged={"early_lr_factor": 0.1})
    optimizer = make_optimizer(parameter_groups(make_network(recipe), recipe.train), recipe.train)
    set_learning_rate(optimizer, 0.5)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert min(rates) == pytest.approx(0.05)
    assert rates[-1] == 0.5


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_the_average_follows_the_formula(module: nn.Module):
    weight = module[0].weight
    average = ExponentialMovingAverage(module, 0.15)
    expected = weight.detach().clone()
    for step in range(1, 5):
        with torch.no_grad():
            weight.add_(1.0)
        average.update()
        decay = min(0.15, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach()
    torch.testing.assert_close(average.state()["0.weight"], expected)


def test_statistics_are_averaged_and_counts_copied(module: nn.Module):
    average = ExponentialMovingAverage(module, 0.9)
    module(torch.randn(8, 3))
    average.update()
    state = average.state()
    decay = 2 / 11
    torch.testing.assert_close(state["1.running_mean"], (1 - decay) * module[1].running_mean)
    assert int(state["1.num_batches_tracked"]) == 1


def test_swapping_twice_changes_nothing_and_once_gives_the_average(module: nn.Module):
    average = ExponentialMovingAverage(module, 0.5)
    with torch.no_grad():
        module[0].weight.zero_()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    kept = {name: tensor.clone() for name, tensor in average.state().items()}
    average.swap()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, kept[name])
    average.swap()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_optimiser_still_moves_the_module_after_a_swap(module: nn.Module):
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    average = ExponentialMovingAverage(module, 0.5)
    average.swap()
    average.swap()
    before = module[0].weight.detach().clone()
    module[0](torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(module[0].weight, before)


def test_a_loaded_average_goes_on_where_it_was(module: nn.Module):
    straight = ExponentialMovingAverage(module, 0.9)
    straight.update()
    resumed = ExponentialMovingAverage(module, 0.9)
    resumed.load({name: tensor.clone() for name, tensor in straight.state().items()}, straight.steps)
    with torch.no_grad():
        module[0].weight.add_(1.0)
    straight.update()
    resumed.update()
    for name, tensor in straight.state().items():
        assert torch.equal(tensor, resumed.state()[name])
