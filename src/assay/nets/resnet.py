"""The ResNet family: basic, bottleneck and pre-activation blocks, at any depth and width.

Parameters are named as in torchvision.
"""

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

from assay.nets.backbone import Backbone, Stages, init_he
from assay.recipe import ResNetSpec

RESNETS: Mapping[str, ResNetSpec] = MappingProxyType(
    {
        "resnet18": ResNetSpec(block="basic", layers=(2, 2, 2, 2)),
        "resnet34": ResNetSpec(block="basic", layers=(3, 4, 6, 3)),
        "resnet50": ResNetSpec(block="bottleneck", layers=(3, 4, 6, 3)),
        "resnet101": ResNetSpec(block="bottleneck", layers=(3, 4, 23, 3)),
        "resnet152": ResNetSpec(block="bottleneck", layers=(3, 8, 36, 3)),
        "resnet50v2": ResNetSpec(block="preact", layers=(3, 4, 6, 3)),
    }
)
"""Named ResNets. Source: He et al. 2015, table 1; V2: He et al. 2016."""


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Return a padded convolution without bias; stride 1 keeps the side, stride 2 halves it, rounding up."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut.

    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, fig. 5 left.
    """

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, h, w] to [N, width, h / stride, w / stride]."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        out: Tensor = self.relu(residual + self.downsample(x))
        return out

    def last_norm(self) -> nn.BatchNorm2d:
        """Last norm of the residual branch."""
        return self.bn2


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the output has 4 × `width` channels.

    The 3x3 convolution has the stride, not the first 1x1 as in the paper, where it would skip inputs. This is
    the "v1.5" that the published weights were trained with.

    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, fig. 5 right.
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(inputs, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, h, w] to [N, 4 * width, h / stride, w / stride]."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        out: Tensor = self.relu(residual + self.downsample(x))
        return out

    def last_norm(self) -> nn.BatchNorm2d:
        """Last norm of the residual branch."""
        return self.bn3


class PreActBottleneck(nn.Module):
    """The bottleneck with norm and ReLU before each convolution; the shortcut is the identity.

    If the shape changes, the shortcut is a projection of the first norm and ReLU. The 3x3 has the stride.

    Source: He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", 2016, fig. 4e.
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, width, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, outputs, 1)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, h, w] to [N, 4 * width, h / stride, w / stride]."""
        active = self.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(active)
        residual = self.conv1(active)
        residual = self.conv2(self.relu(self.bn2(residual)))
        residual = self.conv3(self.relu(self.bn3(residual)))
        out: Tensor = residual + shortcut
        return out

    def last_norm(self) -> None:
        """None: the residual branch ends with a convolution."""


Block = BasicBlock | Bottleneck | PreActBottleneck
_BLOCKS: Mapping[str, type[Block]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
    "preact": PreActBottleneck,
}


class ResNet(Backbone):
    """A stem, then stages of residual blocks; every stage but the first halves the side.

    Children are named `conv1`, `bn1`, `layer1` ... `layerN` as in torchvision. The pre-activation variant
    has no norm in the stem and a norm, `norm`, after the last stage.

    `zero_init_residual` initializes the last norm of each residual branch to zero, which makes training more stable
    (Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1); pre-activation blocks are not affected.
    """

    def __init__(self, spec: ResNetSpec, *, zero_init_residual: bool = True) -> None:
        super().__init__()
        block = _BLOCKS[spec.block]
        preact = spec.block == "preact"
        inputs = spec.widths[0]
        photo = spec.stem == "conv7"
        self.conv1 = conv(3, inputs, 7, 2) if photo else conv(3, inputs, 3)
        self.bn1 = nn.Identity() if preact else nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.stem_relu = nn.Identity() if preact else self.relu
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if photo else nn.Identity()
        self._layers: list[str] = []
        for index, (depth, width) in enumerate(zip(spec.layers, spec.widths, strict=True)):
            strides = [1 if index == 0 else 2] + [1] * (depth - 1)
            blocks = nn.Sequential()
            for stride in strides:
                blocks.append(block(inputs, width, stride))
                inputs = width * block.expansion
            self._layers.append(f"layer{index + 1}")
            self.add_module(self._layers[-1], blocks)
        self.norm = nn.Sequential(nn.BatchNorm2d(inputs), self.relu) if preact else nn.Identity()
        self.channels = inputs
        self.intermediate_channels = tuple(width * block.expansion for width in spec.widths[1:-1])
        init_he(self)
        if zero_init_residual:
            _zero_last_norms(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map [N, K, h, w]; with stem `conv7` and four stages h = S / 32, rounded up."""
        return self.feature_maps(images)[-1]

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the layers between the first and the last one, and the last feature map."""
        maps = []
        x = self.maxpool(self.stem_relu(self.bn1(self.conv1(images))))
        for name in self._layers:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return [*maps[1:-1], self.norm(x)]

    def stages(self) -> Stages:
        """Return the stem, then every layer; the last one includes the final norm."""
        stages: list[list[nn.Module]] = [[self.conv1, self.bn1]]
        stages += [[self.get_submodule(name)] for name in self._layers]
        stages[-1].append(self.norm)
        return stages


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return the shortcut: the identity if the shapes agree, else a 1x1 convolution (paper: option B)."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


def _zero_last_norms(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, Block):
            norm = module.last_norm()
            if norm is not None:
                nn.init.zeros_(norm.weight)
