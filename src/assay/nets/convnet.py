"""A small VGG-like network for images of a few dozen pixels, trained from random weights."""

from torch import Tensor, nn

from assay.nets.backbone import Backbone, Stages, init_he
from assay.nets.dropout import Dropout
from assay.recipe import ConvNetSpec


class ConvNet(Backbone):
    """Blocks of two 3x3 convolutions, each with batch norm and ReLU, then 2x2 max pooling and dropout.

    Source: the layout is that of VGG (Simonyan, Zisserman, 2014) with batch norm (Ioffe, Szegedy, 2015) and
    dropout (Srivastava et al., 2014) added.
    """

    def __init__(self, spec: ConvNetSpec) -> None:
        super().__init__()
        inputs = 3
        self.blocks = nn.Sequential()
        for filters in spec.filters:
            self.blocks.append(_conv_block(inputs, filters, spec.dropout))
            inputs = filters
        self.channels = inputs
        init_he(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map [N, K, h, w]; every block halves the side, rounding down."""
        features: Tensor = self.blocks(images)
        return features

    def stages(self) -> Stages:
        """Return one stage per block; the first one is the stem."""
        return [[block] for block in self.blocks]


def _conv_block(inputs: int, filters: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, filters):
        layers += [
            nn.Conv2d(channels, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.MaxPool2d(2), Dropout(dropout))
