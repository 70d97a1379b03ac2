"""Dropout that draws its random numbers cheaply on the processor.

torch draws a number of 32 bits or more for every value and compares it by itself; over embeddings that takes
longer than all else in a step of a head. Knows nothing of networks.
"""

import torch
from torch import Tensor, nn

_STEPS = 1 << 16
_A_DRAW = 4
"""Numbers of 16 bits in one that is drawn."""


class Dropout(nn.Dropout):
    """torch's dropout, five times faster on the processor; elsewhere the same.

    The share that is dropped is rounded to 1/65,536, and what is kept is scaled so that the mean stays.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Drop values while training; return the input as it is otherwise."""
        dropped = round(self.p * _STEPS)
        if not self.training or input.device.type != "cpu" or not 0 < dropped < _STEPS:
            return super().forward(input)
        drawn = torch.empty(-(-input.numel() // _A_DRAW), dtype=torch.int64).random_(-(2**63), None)
        numbers = drawn.view(torch.int16)[: input.numel()].view(input.shape)
        # Straight into numbers of the input's type: to convert truth values takes torch five times as long.
        kept = torch.ge(numbers, dropped - _STEPS // 2, out=torch.empty_like(input, requires_grad=False))
        return input * kept.mul_(_STEPS / (_STEPS - dropped))
