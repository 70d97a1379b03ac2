"""Parameter groups, and optimizers, also one for many stacked networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn, optim

from assay.core.errors import UsageError
from assay.nets import ClassifierNetwork
from assay.recipe import TrainSpec


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters with the same learning rate and weight decay."""

    parameters: tuple[nn.Parameter, ...]
    scale: float
    """Learning rate as a share of the head's."""
    weight_decay: float


def frozen_stage_count(network: ClassifierNetwork, spec: TrainSpec) -> int:
    """Return how many of the earliest stages stay frozen for the whole run.

    Raises:
        UsageError: `train.freeze` is set for a strategy that ignores it.
    """
    if spec.freeze and spec.strategy != "finetune":
        raise UsageError(
            f"train.freeze is {spec.freeze}, but only the strategy finetune uses it, not {spec.strategy}: "
            "set train.strategy=finetune or train.freeze=0"
        )
    return network.depth if spec.strategy == "probe" else spec.freeze


def parameter_groups(network: ClassifierNetwork, spec: TrainSpec) -> list[ParameterGroup]:
    """Group the parameters that are trained at any time of a run by learning rate and weight decay.

    Biases and norm parameters (those of one dimension) have no weight decay. With the strategy `staged`, the
    rate falls geometrically from 1 at the head to `staged.early_lr_factor` at the stem; with the others all
    stages have the same rate.

    Returns:
        The non-empty groups, that of the head last.
    """
    stages = network.parameter_stages()
    last = len(stages) - 1
    early = spec.staged.early_lr_factor if spec.strategy == "staged" else 1.0
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for index, stage in enumerate(stages):
        if index < frozen_stage_count(network, spec):
            continue
        scale = early ** ((last - index) / last)
        for parameter in stage:
            decay = spec.weight_decay if parameter.ndim > 1 else 0.0
            members.setdefault((scale, decay), []).append(parameter)
    return [ParameterGroup(tuple(found), scale, decay) for (scale, decay), found in members.items()]


def make_optimizer(groups: list[ParameterGroup], spec: TrainSpec) -> optim.Optimizer:
    """Create the optimizer of a recipe; every param group has a `scale` beside its `lr`.

    Weight decay is coupled (added to the gradient) in `adam` and `sgd`, and decoupled in `adamw`.
    """
    # Fused: one pass over the weights instead of ten. On a GPU with mixed precision it cannot clip gradients.
    fused = all(parameter.device.type == "cpu" for group in groups for parameter in group.parameters)
    params = [
        {"params": list(group.parameters), "weight_decay": group.weight_decay, "scale": group.scale} for group in groups
    ]
    if spec.optimizer == "sgd":
        return optim.SGD(params, lr=spec.lr, momentum=spec.momentum, fused=fused or None)
    if spec.optimizer == "adam":
        return optim.Adam(params, lr=spec.lr, fused=fused or None)
    return optim.AdamW(params, lr=spec.lr, fused=fused or None)


def set_learning_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to its share of `rate`, the head's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


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
        self._optimizer = make_optimizer([ParameterGroup(tuple(self._steps), 1.0, 0.0)], alike)
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
                gradient.add_(parameter * _broadcast(self._decays, parameter))
            # Contiguous: torch's fused optimizers ignore strides.
            step.grad = gradient.contiguous()
            step.zero_()
        self._optimizer.step()
        for parameter, step in zip(self._parameters, self._steps, strict=True):
            if decays and not self._coupled and parameter.ndim > 2:
                parameter.mul_(_broadcast(1 - rates * self._decays, parameter))
            parameter.addcmul_(step, _broadcast(rates, parameter))

    def _clip(self, gradients: Sequence[Tensor]) -> None:
        """Scale the gradients of every network down to its largest norm, as `clip_grad_norm_` does."""
        if self._clips.isinf().all():
            return
        squares = [gradient.square().flatten(1).sum(dim=1) for gradient in gradients]
        norms = torch.stack(squares).sum(dim=0).sqrt()
        shares = (self._clips / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(_broadcast(shares, gradient))


def _broadcast(values: Tensor, tensor: Tensor) -> Tensor:
    """Reshape values [K] to broadcast over a tensor [K, ...]."""
    return values.view(-1, *[1] * (tensor.ndim - 1))
