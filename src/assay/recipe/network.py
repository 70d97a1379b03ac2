"""Settings of the network: backbone, head and initial weights."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from assay.recipe.base import Probability, Settings, closest_match

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
"""Names of the networks; in addition, `timm:NAME` is a network of the timm library."""

Width = Annotated[int, Field(ge=1, le=65_536)]
"""Channels or features of a layer."""
Blocks = Annotated[int, Field(ge=1, le=256)]
"""Number of blocks of a stage."""


def check_known(name: str) -> None:
    """Check the name of a network.

    Raises:
        ValueError: it does not exist.
    """
    if name not in NETWORKS and not name.startswith("timm:"):
        raise ValueError(f"no network is called {name!r}; the nearest is {closest_match(name, NETWORKS)!r}")


def has_published_weights(name: str) -> bool:
    """Return whether pretrained weights exist for a network."""
    return name not in {"resnet", "convnet"}


class HeadSpec(Settings):
    """The head on the pooled features: [dropout, dense, batch norm, ReLU] × n, dropout, linear."""

    hidden: Annotated[tuple[Width, ...], Field(max_length=16)] = ()
    """Widths of the hidden layers; by default the head is one linear layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout rate before every linear layer."""
    batch_norm: bool = False
    """Batch norm after every hidden layer."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """λ of the penalty λ·Σw² over the weights of the head's linear layers."""


class ResNetSpec(Settings):
    """Architecture of the network `resnet`; other networks ignore it."""

    block: Literal["basic", "bottleneck", "preact"] = "basic"
    """Convolutions of a block. basic: two 3x3; bottleneck: 1x1, 3x3, 1x1; preact: the bottleneck with norm and ReLU
    before each convolution (ResNet V2)."""
    layers: Annotated[tuple[Blocks, ...], Field(min_length=1, max_length=8)] = (2, 2, 2, 2)
    """Number of blocks per stage."""
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (64, 128, 256, 512)
    """Base width of every stage, in channels."""
    stem: Literal["conv7", "conv3"] = "conv7"
    """conv7: 7x7 stride 2 and max pooling, for photos; conv3: 3x3 stride 1, for images of 32 pixels."""

    @model_validator(mode="after")
    def _one_width_a_stage(self) -> Self:
        if len(self.layers) != len(self.widths):
            raise ValueError(
                f"layers and widths need one number per stage: {len(self.layers)} is not {len(self.widths)}"
            )
        return self


class ConvNetSpec(Settings):
    """Architecture of the network `convnet` (blocks of two 3x3 convolutions); other networks ignore it."""

    filters: Annotated[tuple[Width, ...], Field(min_length=1, max_length=11)] = (32, 64, 128)
    """Channels of every block."""
    dropout: Probability = 0.3
    """Dropout rate of every block's output."""


class NetSpec(Settings):
    """The network."""

    name: str = "efficientnet-lite0"
    """A network listed by `assay recipes networks`, or `timm:NAME`."""
    weights: str = "imagenet"
    """imagenet, none, or the path of a safetensors or tensors-only torch file."""
    flip_average: bool = False
    """Predict every photo together with its mirror image, and average the features of both; takes twice as long."""
    intermediate_features: bool = False
    """Add how much the channels of intermediate layers vary over a photo to the features that the head is given, which
    helps a frozen backbone with textures and small defects. EfficientNets and ResNets of three or more layers have such
    features; other networks ignore it. With the strategy `auto` see `train.auto.intermediate_features`."""
    head: HeadSpec = HeadSpec()
    resnet: ResNetSpec = ResNetSpec()
    convnet: ConvNetSpec = ConvNetSpec()

    @model_validator(mode="after")
    def _known(self) -> Self:
        check_known(self.name)
        return self
