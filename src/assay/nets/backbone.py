"""The interface of all backbones, and the random initialization of their weights."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

Stages = Sequence[Sequence[nn.Module]]


class Backbone(nn.Module, ABC):
    """A network without its classifier.

    Attributes:
        channels: K, of the last feature map.
        intermediate_channels: of each of the intermediate feature maps; none: the network offers none.
    """

    channels: int
    intermediate_channels: tuple[int, ...] = ()

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map, float [N, K, h, w], of normalised images, float [N, 3, S, S]."""

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return the intermediate feature maps in forward order, and the last one."""
        return [self(images)]

    @abstractmethod
    def stages(self) -> Stages:
        """Return the modules of every stage in forward order, the stem first."""


def init_he(network: nn.Module) -> None:
    """Initialize the convolutions of a network at random, in place, and its batch norms to the identity.

    Weights are normal with variance 2 / fan-out, where fan-out = kernel area × output channels / groups.
    Without the division by groups, the weights of depthwise convolutions would be close to zero. Linear
    layers are not changed.

    Source: He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, eq. 14.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
