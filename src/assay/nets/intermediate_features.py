"""Features of intermediate layers: how much each of their channels varies over the image.

The last feature map of a network that was trained on photos of objects says what is to be seen; textures and small
defects are lost in it, but not in the layers before.

Sources: Evci, Dumoulin, Larochelle, Mozer, "Head2Toe: Utilizing Intermediate Representations for Better Transfer
Learning", 2022; Huang, Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", 2017,
for standard deviations as a description of texture.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEAST_VARIANCE = 1e-6
"""A constant channel has a standard deviation of about 0, and no gradient."""


class AppendDeviations(nn.Module):
    """Appends the standard deviations of intermediate feature maps to the last one, as maps themselves.

    The mean of an appended channel over the image is the standard deviation of the intermediate channel, and its values
    are the contributions of the cells, so that pooling, heads and class activation maps need no other code. If the side
    of an intermediate map is no multiple of that of the last one, its last rows and columns count up to twice.
    """

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map float [N, K, h, w] each, the last one last, to float [N, D, h, w], the last one first."""
        *intermediate, last = maps
        return torch.cat([last, *(_deviations(values.float(), last.shape[2:]) for values in intermediate)], dim=1)


def _deviations(values: Tensor, cells: torch.Size) -> Tensor:
    """Return squared differences from the mean over the standard deviation, averaged to `cells` (rows, columns)."""
    squares = (values - values.mean(dim=(2, 3), keepdim=True)).square()
    # Not an addition, which a quantized model would round to 8 bits.
    variance = torch.maximum(squares.mean(dim=(2, 3), keepdim=True), values.new_full((), _LEAST_VARIANCE))
    window = [-(-side // count) for side, count in zip(values.shape[2:], cells, strict=True)]
    below, beside = (step * count - side for step, count, side in zip(window, cells, values.shape[2:], strict=True))
    contributions = squares / variance.sqrt()
    if below or beside:
        contributions = functional.pad(contributions, (0, beside, 0, below), mode="replicate")
    return functional.avg_pool2d(contributions, window)
