"""The exponential moving average of a network's weights during training."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class ExponentialMovingAverage:
    """The exponential moving average of every floating-point tensor of a module's state; integers are copied.

    Batch norm statistics are averaged as well, so the averaged module needs no extra pass over the images.
    The decay rises to `decay` from a low value; otherwise the random initial weights would dominate for
    thousands of steps.

    Args:
        module: the module to average, held by reference; its current state is the initial average.
        decay: share of the average that is kept in one step, 0-1.

    Source: decay min(d, (1 + t) / (10 + t)) as in TensorFlow's ExponentialMovingAverage, 2016.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._tensors = dict(module.state_dict(keep_vars=True))
        self._average = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the module's current state."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        floating = [name for name, tensor in self._tensors.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self._average[name] for name in floating], [self._tensors[name] for name in floating], 1 - decay
        )
        for name in self._tensors.keys() - set(floating):
            self._average[name].copy_(self._tensors[name])

    def swap(self) -> None:
        """Swap the module's state and the average without copying."""
        for name, tensor in self._tensors.items():
            tensor.data, self._average[name] = self._average[name], tensor.data

    def state(self) -> dict[str, Tensor]:
        """Return the averaged tensors by name, not copied."""
        return dict(self._average)

    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Restore an average that `state` returned after `steps` updates."""
        self.steps = steps
        for name, tensor in self._average.items():
            tensor.copy_(state[name])
