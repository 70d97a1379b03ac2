"""Depthwise convolutions in bf16 on the CPU, with a fast backward pass."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

Pair = tuple[int, int]


def in_bf16_on_cpu(x: Tensor) -> bool:
    """Return whether autocast computes convolutions of this tensor in bf16 on the CPU."""
    return x.device.type == "cpu" and torch.is_autocast_enabled("cpu")


def depthwise_conv2d(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Convolve every channel with its own kernel in bf16.

    oneDNN's gradient of a depthwise kernel in bf16, and that of the input with a stride, are computed in 32 bits
    here: the bf16 versions are two to four times slower (oneDNN 3.12, AVX-512 BF16).

    Args:
        x: [N, C, h, w].
        weight: float32 [C, 1, k, k].
        stride: vertical and horizontal.
        padding: rows and columns of zeros on either side.

    Returns:
        bfloat16 [N, C, h', w'].
    """
    result: Tensor = _DepthwiseConv2d.apply(x.to(torch.bfloat16), weight, stride, padding)  # type: ignore[no-untyped-call]
    return result


class _DepthwiseConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight.to(x.dtype), None, stride, padding, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        input_wanted, kernel_wanted, *_ = ctx.needs_input_grad
        of_input = of_kernel = None
        if input_wanted and max(ctx.stride) == 1:
            of_input, _ = _gradients(ctx, gradient, x, weight.to(x.dtype), (True, False))
            input_wanted = False
        if input_wanted or kernel_wanted:
            found = _gradients(ctx, gradient.float(), x.float(), weight, (input_wanted, kernel_wanted))
            of_input = found[0] if of_input is None else of_input
            of_kernel = found[1]
        return of_input, of_kernel, None, None


def _gradients(
    ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of the input and of the kernel, None where not wanted."""
    geometry = {"bias_sizes": None, "stride": ctx.stride, "padding": ctx.padding, "dilation": (1, 1)}
    of_input, of_kernel, _ = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        **geometry,
        transposed=False,
        output_padding=(0, 0),
        groups=len(weight),
        output_mask=(*wanted, False),
    )
    return of_input, of_kernel
