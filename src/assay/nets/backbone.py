"""The interface of all backbones."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

Stages = Sequence[Sequence[nn.Module]]


class Backbone(nn.Module, ABC):
    """A network without its classifier; `channels` is K, the number of channels of the feature map."""

    channels: int

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map, float [N, K, h, w], of normalised images, float [N, 3, S, S]."""

    @abstractmethod
    def stages(self) -> Stages:
        """Return the modules of every stage in forward order, the stem first."""
