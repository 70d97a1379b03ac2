"""The exponential moving average of weights."""

import pytest
import torch
from torch import nn

from assay.training.weight_average import ExponentialMovingAverage


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_average_follows_the_formula(module: nn.Module):
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


def test_swap_exchanges_weights_and_average(module: nn.Module):
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


def test_optimizer_updates_the_module_after_a_swap(module: nn.Module):
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    average = ExponentialMovingAverage(module, 0.5)
    average.swap()
    average.swap()
    before = module[0].weight.detach().clone()
    module[0](torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(module[0].weight, before)


def test_loaded_average_continues(module: nn.Module):
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
