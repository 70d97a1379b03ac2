"""Which network, how wide and deep, with which head and weights."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from assay.recipe.base import Probability, Settings
from assay.recipe.names import nearest

NETWORKS = (
    "efficientnet-lite0",
    "efficientnet-lite1",
    "efficientnet-lite2",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet50v2",
    "resnet",
    "convnet",
)
"""Every network by name; `timm:NAME` names one of the timm library besides."""

Width = Annotated[int, Field(ge=1, le=65_536)]
"""Channels or features of a layer."""
Blocks = Annotated[int, Field(ge=1, le=256)]
"""Blocks of a stage."""


class HeadSpec(Settings):
    """What stands behind the pooled features: [dense, batch norm, ReLU, dropout] x n, then a linear layer."""

    hidden: Annotated[tuple[Width, ...], Field(max_length=16)] = ()
    """Widths of the dense layers before the last; none makes the head one linear layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the features dropped before every linear layer."""
    batch_norm: bool = False
    """Batch norm behind every dense layer but the last."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """λ of the penalty λ·Σw² over the weights of the head's linear layers."""


class ResNetSpec(Settings):
    """Shape of a ResNet of one's own; used by the network `resnet` alone."""

    block: Literal["basic", "bottleneck", "preact"] = "basic"
    """basic: two 3x3; bottleneck: 1x1, 3x3, 1x1; preact: the bottleneck with norm and ReLU first (V2)."""
    layers: Annotated[tuple[Blocks, ...], Field(min_length=1, max_length=8)] = (2, 2, 2, 2)
    """Blocks a stage."""
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (64, 128, 256, 512)
    """Base width of every stage in channels."""
    stem: Literal["conv7", "conv3"] = "conv7"
    """conv7: 7x7 stride 2 and max pooling, for photos; conv3: 3x3 stride 1, for pictures of 32 pixels."""

    @model_validator(mode="after")
    def _one_width_a_stage(self) -> Self:
        if len(self.layers) != len(self.widths):
            raise ValueError(
                f"layers and widths need one number a stage: {len(self.layers)} is not {len(self.widths)}"
            )
        return self


class ConvNetSpec(Settings):
    """Shape of the scratch ConvNet: blocks of two 3x3 convolutions; used by the network `convnet` alone."""

    filters: Annotated[tuple[Width, ...], Field(min_length=1, max_length=11)] = (32, 64, 128)
    """Channels of every block."""
    dropout: Probability = 0.3
    """Share of each block's output dropped."""


class NetSpec(Settings):
    """The network."""

    name: str = "efficientnet-lite0"
    """One of `assay recipes networks`, or `timm:NAME`."""
    weights: str = "imagenet"
    """imagenet, none, or the path of a safetensors or tensors-only torch file."""
    head: HeadSpec = HeadSpec()
    resnet: ResNetSpec = ResNetSpec()
    convnet: ConvNetSpec = ConvNetSpec()

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in NETWORKS and not self.name.startswith("timm:"):
            raise ValueError(
                f"no network is called {self.name!r}; the nearest is {nearest(self.name, NETWORKS)!r}"
            )
        return self
