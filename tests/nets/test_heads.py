import numpy as np
import pytest
import torch
from torch import nn

from assay.nets import Head
from assay.recipe import HeadSpec


def kinds(module: nn.Module):
    return [type(child).__name__ for child in module.modules() if not list(child.children())]


def test_without_hidden_layers_it_is_one_linear_layer():
    head = Head(HeadSpec(), 8, 3)
    embedding = torch.randn(5, 8)
    torch.testing.assert_close(head(embedding), embedding @ head.fc.weight.T + head.fc.bias)
    assert head.is_linear


def test_hidden_layers_in_their_order():
    head = Head(HeadSpec(hidden=(6, 4), dropout=0.5, batch_norm=True), 8, 3)
    assert kinds(head.hidden) == ["Dropout", "Linear", "BatchNorm1d", "ReLU"] * 2
    assert kinds(head)[-2:] == ["Dropout", "Linear"]
    assert [module.out_features for module in head.modules() if isinstance(module, nn.Linear)] == [6, 4, 3]
    assert not head.is_linear


def test_penalty_is_the_sum_of_squared_weights_and_has_a_gradient():
    head = Head(HeadSpec(hidden=(6,), l2=1e-3), 8, 3)
    weights = [module.weight for module in head.modules() if isinstance(module, nn.Linear)]
    expected = 1e-3 * sum(float(np.square(weight.detach().numpy()).sum()) for weight in weights)
    penalty = head.l2_penalty()
    assert penalty.item() == pytest.approx(expected, rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(head.fc.weight.grad, 2e-3 * head.fc.weight)
    assert head.fc.bias.grad is None


def test_no_penalty_without_l2():
    assert Head(HeadSpec(), 8, 3).l2_penalty().item() == 0


def test_dropout_drops_in_training_only():
    head = Head(HeadSpec(dropout=0.5), 1000, 2)
    embedding = torch.ones(1, 1000)
    assert not torch.equal(head.train()(embedding), head(embedding))
    assert torch.equal(head.eval()(embedding), head(embedding))
