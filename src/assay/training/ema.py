"""The exponential moving average of a module's weights: evaluated and kept in place of the last ones.

Knows nothing of the training loop; the loop calls `update` after every step.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """Averages every floating-point tensor of a module's state; whole numbers are copied.

    Batch-norm statistics are averaged along with the weights, so the averaged module needs no pass over the
    photos to be usable. The decay starts low and rises to `decay`, or else the random start would weigh for
    thousands of steps.

    Source: decay min(d, (1 + t) / (10 + t)) as in TensorFlow's ExponentialMovingAverage, 2016.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Start from the module's present state, on the module's device.

        Args:
            module: the module to follow; kept by reference.
            decay: share of the average that stays in one step, between 0 and 1.
        """
        self.decay = decay
        self.steps = 0
        self._live = dict(module.state_dict(keep_vars=True))
        self._average = {name: tensor.detach().clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the module's present state into the average."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        floating = [name for name, tensor in self._live.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self._average[name] for name in floating], [self._live[name] for name in floating], 1 - decay
        )
        for name in self._live.keys() - set(floating):
            self._average[name].copy_(self._live[name])

    def swap(self) -> None:
        """Exchange the module's state and the average, without copying."""
        for name, live in self._live.items():
            live.data, self._average[name] = self._average[name], live.data

    def state(self) -> dict[str, Tensor]:
        """Return the averaged tensors by their names in the module's state, not copied."""
        return dict(self._average)

    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Take up an average that `state` returned after `steps` updates."""
        self.steps = steps
        for name, tensor in self._average.items():
            tensor.copy_(state[name])
