"""Classifier heads, alone and stacked."""

import numpy as np
import pytest
import torch
from torch import nn

from assay.nets import Head
from assay.nets.heads import HeadStack
from assay.recipe import HeadSpec


def kinds(module: nn.Module):
    return [type(child).__name__ for child in module.modules() if not list(child.children())]


def test_head_without_hidden_layers_is_one_linear_layer():
    head = Head(HeadSpec(), 8, 3)
    embedding = torch.randn(5, 8)
    torch.testing.assert_close(head(embedding), embedding @ head.fc.weight.T + head.fc.bias)
    assert head.is_linear


def test_probability_of_a_class_is_the_sum_of_those_of_its_labels():
    head = Head(HeadSpec(), 8, 3, labels_per_class=(1, 3, 2)).eval()
    embedding = torch.randn(5, 8)
    labels = head.fc(embedding).softmax(dim=1)
    expected = torch.stack([labels[:, 0], labels[:, 1:4].sum(1), labels[:, 4:].sum(1)], dim=1)
    torch.testing.assert_close(head(embedding).softmax(dim=1), expected)
    assert not head.is_linear
    assert head.train()(embedding).shape == (5, 6)


def test_hidden_layers_are_in_order():
    head = Head(HeadSpec(hidden=(6, 4), dropout=0.5, batch_norm=True), 8, 3)
    assert kinds(head.hidden) == ["Dropout", "Linear", "BatchNorm1d", "ReLU"] * 2
    assert kinds(head)[-2:] == ["Dropout", "Linear"]
    assert [module.out_features for module in head.modules() if isinstance(module, nn.Linear)] == [6, 4, 3]
    assert not head.is_linear


def test_l2_penalty_is_the_sum_of_squared_weights_with_a_gradient():
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


def test_dropout_is_active_in_training_only():
    head = Head(HeadSpec(dropout=0.5), 1000, 2)
    embedding = torch.ones(1, 1000)
    assert not torch.equal(head.train()(embedding), head(embedding))
    assert torch.equal(head.eval()(embedding), head(embedding))


SPECS = {
    "linear": HeadSpec(dropout=0.4, l2=0.1),
    "deep": HeadSpec(hidden=(5, 4), dropout=0.4, l2=0.1),
    "normed": HeadSpec(hidden=(5,), dropout=0.4, batch_norm=True, l2=0.1),
}


def make(spec: HeadSpec) -> Head:
    torch.manual_seed(0)
    return Head(spec, 6, 3)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_stack_equals_the_separate_heads(spec: HeadSpec, *, training: bool):
    stack = HeadStack(make(spec), 0.4, [0.1, 0.2]).train(training)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter[1].mul_(1.5)
    states = [stack.state_of(place) for place in range(2)]
    embedding = torch.randn(8, 6)
    torch.manual_seed(1)
    logits, penalties = stack(embedding), stack.l2_penalty()
    assert logits.shape == (2, 8, 3)
    for place, factor in enumerate((1, 2)):
        head = make(spec).train(training)
        head.load_state_dict(states[place])
        torch.manual_seed(1)
        torch.testing.assert_close(logits[place], head(embedding))
        torch.testing.assert_close(penalties[place], factor * head.l2_penalty())
        for name, tensor in head.state_dict().items():
            torch.testing.assert_close(stack.state_of(place)[name], tensor)


def test_initial_head_is_not_changed():
    head = make(SPECS["normed"])
    stack = HeadStack(head, 0.0, [0.0, 0.0, 0.0])
    stack(torch.randn(8, 6))
    for name, tensor in make(SPECS["normed"]).state_dict().items():
        assert torch.equal(head.state_dict()[name], tensor)
    assert stack.l2_penalty().tolist() == [0, 0, 0]


def test_infinite_weights_without_penalty_add_nothing():
    stack = HeadStack(make(SPECS["linear"]), 0.0, [0.0, 0.1])
    with torch.no_grad():
        stack.head.fc.weight.fill_(1e30)
    assert stack.l2_penalty().tolist() == [0, float("inf")]


def test_every_head_has_its_own_dropout_rate():
    stack = HeadStack(make(HeadSpec()), 0.75, [0.0])
    with torch.no_grad():
        stack.head.fc.weight.fill_(1.0)
        stack.head.fc.bias.zero_()
    sums = stack(torch.ones(4000, 6))[0, :, 0]
    assert float(sums.mean().detach()) == pytest.approx(6, abs=0.2)
    assert set(sums.detach().unique().tolist()) == {0, 4, 8, 12, 16, 20, 24}
