"""Which parameters learn, how fast relative to each other, which of them decay, and by which optimiser.

Knows the network's stages and nothing of photos, epochs or the loop.
"""

from dataclasses import dataclass

from torch import nn, optim

from assay.errors import UsageError
from assay.nets import Classifier
from assay.recipe import TrainSpec


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters with the same learning rate and weight decay."""

    parameters: tuple[nn.Parameter, ...]
    scale: float
    """Learning rate as a share of the head's."""
    weight_decay: float


def frozen_stages(network: Classifier, spec: TrainSpec) -> int:
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


def parameter_groups(network: Classifier, spec: TrainSpec) -> list[Group]:
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
        if index < frozen_stages(network, spec):
            continue
        scale = early ** ((last - index) / last)
        for parameter in stage:
            decay = spec.weight_decay if parameter.ndim > 1 else 0.0
            members.setdefault((scale, decay), []).append(parameter)
    return [Group(tuple(found), scale, decay) for (scale, decay), found in members.items()]


def make_optimizer(groups: list[Group], spec: TrainSpec) -> optim.Optimizer:
    """Create the optimizer of a recipe; every param group has a `scale` beside its `lr`.

    Weight decay is coupled (added to the gradient) in `adam` and `sgd`, and decoupled in `adamw`.
    """
    # Fused: one pass over the weights instead of ten. On a GPU with mixed precision it cannot clip gradients.
    fused = all(parameter.device.type == "cpu" for group in groups for parameter in group.parameters)
    params = [
        {"params": list(group.parameters), "weight_decay": group.weight_decay, "scale": group.scale}
        for group in groups
    ]
    if spec.optimizer == "sgd":
        return optim.SGD(params, lr=spec.lr, momentum=spec.momentum, fused=fused or None)
    if spec.optimizer == "adam":
        return optim.Adam(params, lr=spec.lr, fused=fused or None)
    return optim.AdamW(params, lr=spec.lr, fused=fused or None)


def set_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to its share of `rate`, the head's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
