"""Seeded dropout: rate, mean, reproducibility, and no effect outside training."""

import pytest
import torch

from assay.nets.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_dropout_rate_and_preserved_mean(share: float):
    torch.manual_seed(0)
    found = Dropout(share)(torch.ones(601, 501))
    assert float((found == 0).float().mean()) == pytest.approx(share, abs=0.005)
    assert float(found.mean()) == pytest.approx(1, abs=0.02)
    assert len(found.unique()) == 2


def test_dropped_values_have_no_gradient():
    torch.manual_seed(0)
    values = torch.ones(3, 5, requires_grad=True)
    found = Dropout(0.5)(values)
    torch.autograd.backward(found.sum())
    assert torch.equal(values.grad, found.detach())


def test_generator_decides_what_is_dropped():
    torch.manual_seed(3)
    first = Dropout(0.5)(torch.ones(9, 9))
    second = Dropout(0.5)(torch.ones(9, 9))
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.5)(torch.ones(9, 9)), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("share", "factor"), [(0.0, 1.0), (1.0, 0.0)])
def test_rates_of_0_and_1(share: float, factor: float):
    values = torch.rand(4, 4)
    assert torch.equal(Dropout(share)(values), values * factor)
    assert torch.equal(Dropout(share).eval()(values), values)
