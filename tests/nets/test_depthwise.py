"""Depthwise convolutions in bf16: values and gradients against those of torch in 32 bits."""

import pytest
import torch
from torch.nn import functional

from assay.nets.depthwise import depthwise_conv2d, in_bf16_on_cpu


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (5, 1, 2), (3, 2, 0), (5, 2, 2)])
def test_result_and_gradients_are_those_of_torch(kernel: int, stride: int, padding: int):
    torch.manual_seed(0)
    x = torch.randn(4, 24, 15, 15).to(torch.bfloat16).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(24, 1, kernel, kernel, requires_grad=True)
    exact_x, exact_weight = x.detach().float().requires_grad_(), weight.detach().clone().requires_grad_()
    result = depthwise_conv2d(x, weight, (stride, stride), (padding, padding))
    exact = functional.conv2d(exact_x, exact_weight, None, stride, padding, 1, 24)
    upstream = torch.randn(exact.shape).to(torch.bfloat16)
    torch.autograd.backward(result, upstream)
    torch.autograd.backward(exact, upstream.float())
    assert (result.dtype, weight.grad.dtype, x.grad.dtype) == (torch.bfloat16, torch.float32, torch.bfloat16)
    for found, expected in ((result, exact), (x.grad, exact_x.grad), (weight.grad, exact_weight.grad)):
        error = (found.float() - expected).norm() / expected.norm()
        assert error < torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("frozen", ["input", "kernel"])
def test_only_the_wanted_gradient_is_computed(stride: int, frozen: str):
    x = torch.randn(2, 16, 8, 8, requires_grad=frozen != "input")
    weight = torch.randn(16, 1, 3, 3, requires_grad=frozen != "kernel")
    torch.autograd.backward(depthwise_conv2d(x, weight, (stride, stride), (1, 1)).sum())
    assert (x.grad is None, weight.grad is None) == (frozen == "input", frozen == "kernel")


def test_only_autocast_on_the_cpu_is_recognized():
    assert not in_bf16_on_cpu(torch.zeros(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert in_bf16_on_cpu(torch.zeros(1))
        assert not in_bf16_on_cpu(torch.zeros(1, device="meta"))
