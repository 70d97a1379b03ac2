"""Batch norm over the images of all processes of a training."""

from typing import Any, Final

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from assay.training.distributed import ProcessGroup


def synchronize_batch_norm(module: nn.Module, group: ProcessGroup) -> None:
    """Let every batch norm layer of a network use the statistics of the whole batch; a no-op for one process.

    torch's own synchronized batch norm needs a GPU.
    """
    for layer in module.modules() if group.size > 1 else ():
        if type(layer) in _SYNCHRONIZED:
            layer.__class__ = _SYNCHRONIZED[type(layer)]


def restore_batch_norm(module: nn.Module) -> None:
    """Undo `synchronize_batch_norm`."""
    for layer in module.modules():
        if isinstance(layer, _SynchronizedBatchNorm):
            original = next(kind for kind, other in _SYNCHRONIZED.items() if type(layer) is other)
            layer.__class__ = original  # type: ignore[assignment]


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, since every process's loss depends on every value."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        del ctx
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


def _sum(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


class _SynchronizedBatchNorm(_BatchNorm):
    """Batch norm over the images of all processes.

    Source: Ioffe and Szegedy, "Batch Normalization" (2015); mean and variance are computed one after the other, since
    the difference of two large sums would lose digits.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        if not self.training:
            return super().forward(input)
        values = input.float()
        over = [dimension for dimension in range(values.ndim) if dimension != 1]
        count = _sum(values.new_tensor(values.numel() / values.shape[1]))
        shape = [1, -1] + [1] * (values.ndim - 2)
        mean = _sum(values.sum(over)) / count
        centred = values - mean.view(shape)
        variance = _sum(centred.square().sum(over)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), momentum)
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return scaled.to(input.dtype)


class _SynchronizedBatchNorm1d(_SynchronizedBatchNorm, nn.BatchNorm1d):
    pass


class _SynchronizedBatchNorm2d(_SynchronizedBatchNorm, nn.BatchNorm2d):
    pass


_SYNCHRONIZED: Final[dict[type[nn.Module], type[_SynchronizedBatchNorm]]] = {
    nn.BatchNorm1d: _SynchronizedBatchNorm1d,
    nn.BatchNorm2d: _SynchronizedBatchNorm2d,
}
