"""A dropout layer that is fast on the CPU."""

import torch
from torch import Tensor, nn

_LEVELS = 1 << 16
_NUMBERS_PER_DRAW = 4
"""16-bit random numbers in one 64-bit draw."""


class Dropout(nn.Dropout):
    """Dropout that is five times as fast as torch's on the CPU; on other devices it is torch's.

    torch draws a random number of 32 bits or more per value, which takes longer than the rest of a head's
    step. Here it has 16 bits: the dropout rate is rounded to 1/65,536, and the scale of the kept values
    follows the rounded rate.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Apply dropout in training mode; otherwise return the input."""
        dropped = round(self.p * _LEVELS)
        if not self.training or input.device.type != "cpu" or not 0 < dropped < _LEVELS:
            return super().forward(input)
        drawn = torch.empty(-(-input.numel() // _NUMBERS_PER_DRAW), dtype=torch.int64).random_(-(2**63), None)
        numbers = drawn.view(torch.int16)[: input.numel()].view(input.shape)
        # Written directly in the input's type: converting booleans takes torch five times as long.
        kept = torch.ge(numbers, dropped - _LEVELS // 2, out=torch.empty_like(input, requires_grad=False))
        return input * kept.mul_(_LEVELS / (_LEVELS - dropped))
