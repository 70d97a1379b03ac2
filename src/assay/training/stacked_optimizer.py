"""One optimiser for the weights of K networks at once, each with its own rate, decay and clipping.

Knows nothing of what the weights are for.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from assay.recipe import TrainSpec
from assay.training.optim import Group, make_optimizer


class StackedOptimizer:
    """One optimizer for K networks whose recipes differ only in learning rate, weight decay and clipping.

    The steps of `sgd`, `adam` and `adamw` are proportional to the learning rate: torch's optimizer computes
    the step for rate 1, which is then scaled by the rate of every network.

    Args:
        parameters: stacked weights, [K, ...] each.
        specs: of the K recipes.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], specs: Sequence[TrainSpec]) -> None:
        self._parameters = parameters
        self._steps = [nn.Parameter(torch.zeros_like(parameter)) for parameter in parameters]
        alike = specs[0].model_copy(update={"lr": 1.0})
        self._optimizer = make_optimizer([Group(tuple(self._steps), 1.0, 0.0)], alike)
        self._coupled = alike.optimizer != "adamw"
        self._decays = torch.tensor([spec.weight_decay for spec in specs])
        self._clips = torch.tensor([spec.gradient_clip or math.inf for spec in specs])

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rates: Tensor) -> None:
        """Update all weights.

        Args:
            gradients: [K, ...] each, changed in place.
            rates: learning rate of every network, float32 [K].
        """
        self._clip(gradients)
        decays = bool(self._decays.any())
        for parameter, step, gradient in zip(self._parameters, self._steps, gradients, strict=True):
            # No weight decay on biases and norm parameters.
            if decays and self._coupled and parameter.ndim > 2:
                gradient.add_(parameter * _like(self._decays, parameter))
            # Contiguous: torch's fused optimizers ignore strides.
            step.grad = gradient.contiguous()
            step.zero_()
        self._optimizer.step()
        for parameter, step in zip(self._parameters, self._steps, strict=True):
            if decays and not self._coupled and parameter.ndim > 2:
                parameter.mul_(_like(1 - rates * self._decays, parameter))
            parameter.addcmul_(step, _like(rates, parameter))

    def _clip(self, gradients: Sequence[Tensor]) -> None:
        """Scale the gradients of every network down to its largest norm, as `clip_grad_norm_` does."""
        if self._clips.isinf().all():
            return
        squares = [gradient.square().flatten(1).sum(dim=1) for gradient in gradients]
        norms = torch.stack(squares).sum(dim=0).sqrt()
        shares = (self._clips / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(_like(shares, gradient))


def _like(values: Tensor, tensor: Tensor) -> Tensor:
    """Reshape values [K] to broadcast over a tensor [K, ...]."""
    return values.view(-1, *[1] * (tensor.ndim - 1))
