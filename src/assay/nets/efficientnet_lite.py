"""EfficientNet-Lite 0, 1 and 2: EfficientNet with ReLU6 and without squeeze-and-excitation.

Parameters are named as in the published weights, less their leading underscores.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from assay.nets.backbone import Backbone, Stages, init_he
from assay.nets.depthwise import depthwise_conv2d, in_bf16_on_cpu


class ScalingFactors(NamedTuple):
    """Width and depth relative to Lite0, and the input size that a variant was trained at, in pixels."""

    width: float
    depth: float
    size: int


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    outputs: int


EFFICIENTNET_LITES: Mapping[str, ScalingFactors] = MappingProxyType(
    {
        "efficientnet-lite0": ScalingFactors(1.0, 1.0, 224),
        "efficientnet-lite1": ScalingFactors(1.0, 1.1, 240),
        "efficientnet-lite2": ScalingFactors(1.1, 1.2, 260),
    }
)
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM = 32
_TOP = 1280
_INTERMEDIATE = range(2, 6)
"""Stages whose outputs are intermediate feature maps: those with a side of S / 8 to S / 32, without the last one."""
_DIVISOR = 8


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding: an odd row or column of padding is at the end.

    With stride 2 on an even side the padding is asymmetric, which `nn.Conv2d` does not support. Symmetric
    padding would shift the image by half a pixel in each such layer of weights trained this way.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.stride: tuple[int, int]

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, h, w] to [N, outputs, h / stride, w / stride], rounded up."""
        top, bottom = self._padding(x.shape[2])
        left, right = self._padding(x.shape[3])
        padding = (top, left)
        if padding != (bottom, right):
            x, padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
        if self.groups > 1 and in_bf16_on_cpu(x):
            return depthwise_conv2d(x, self.weight, self.stride, padding)
        return functional.conv2d(x, self.weight, None, self.stride, padding, 1, self.groups)

    def _padding(self, side: int) -> tuple[int, int]:
        stride, kernel = self.stride[0], self.kernel_size[0]
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2


class MBConv(nn.Module):
    """Inverted bottleneck: 1x1 expansion, depthwise convolution, 1x1 projection; a shortcut if shapes agree.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.widens = expansion != 1
        if self.widens:
            self.expand_conv = SameConv2d(inputs, hidden, 1)
            self.bn0 = _norm(hidden)
        self.depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self.bn1 = _norm(hidden)
        self.project_conv = SameConv2d(hidden, outputs, 1)
        self.bn2 = _norm(outputs)
        self.act = nn.ReLU6(inplace=True)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, h, w] to [N, outputs, h / stride, w / stride], rounded up."""
        hidden = self.act(self.bn0(self.expand_conv(x))) if self.widens else x
        hidden = self.act(self.bn1(self.depthwise_conv(hidden)))
        narrow: Tensor = self.bn2(self.project_conv(hidden))
        return narrow + x if self.shortcut else narrow


class EfficientNetLite(Backbone):
    """A stem, seven stages of inverted bottlenecks, and a 1x1 convolution to 1280 channels.

    `scale` is width and depth relative to Lite0; the stem, the top, and the repeats of the first and last stage are
    not scaled.

    Source: Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019, and the
    Lite variants that its authors published in 2020 (tensorflow/tpu, `efficientnet/lite`).
    """

    def __init__(self, scale: ScalingFactors) -> None:
        super().__init__()
        self.conv_stem = SameConv2d(3, _STEM, 3, 2)
        self.bn0 = _norm(_STEM)
        self.blocks = nn.ModuleList()
        self._ends: list[int] = []
        self._intermediate: list[int] = []
        inputs = _STEM
        for index, stage in enumerate(_STAGES):
            outputs = _scaled_width(stage.outputs, scale.width)
            fixed = index in {0, len(_STAGES) - 1}
            repeats = stage.repeats if fixed else math.ceil(stage.repeats * scale.depth)
            for repeat in range(repeats):
                stride = stage.stride if repeat == 0 else 1
                self.blocks.append(MBConv(inputs, outputs, stage.kernel, stride, stage.expansion))
                inputs = outputs
            self._ends.append(len(self.blocks))
            if index in _INTERMEDIATE:
                self._intermediate.append(len(self.blocks))
        self.conv_head = SameConv2d(inputs, _TOP, 1)
        self.bn1 = _norm(_TOP)
        self.act = nn.ReLU6(inplace=True)
        self.channels = _TOP
        self.intermediate_channels = tuple(
            _scaled_width(_STAGES[index].outputs, scale.width) for index in _INTERMEDIATE
        )
        init_he(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map [N, 1280, h, w] with h = S / 32, rounded up."""
        return self.feature_maps(images)[-1]

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the third to the sixth stage, and the last feature map."""
        maps = []
        x = self.act(self.bn0(self.conv_stem(images)))
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in self._intermediate:
                maps.append(x)
        return [*maps, self.act(self.bn1(self.conv_head(x)))]

    def stages(self) -> Stages:
        """Return the stem and the seven stages; the last one includes the top convolution."""
        starts = [0, *self._ends]
        stages: list[list[nn.Module]] = [[self.conv_stem, self.bn0]]
        stages += [list(self.blocks)[start:end] for start, end in zip(starts, self._ends, strict=False)]
        stages[-1] += [self.conv_head, self.bn1]
        return stages


def _norm(channels: int) -> nn.BatchNorm2d:
    # ε is that of the published weights. Their momentum (0.01 in torch's terms) suits runs of many thousand
    # steps; torch's default of 0.1 suits fine-tuning of a few hundred.
    return nn.BatchNorm2d(channels, eps=1e-3)


def _scaled_width(channels: int, factor: float) -> int:
    """Scale and round to a multiple of eight, never down by more than 10 %."""
    scaled = channels * factor
    rounded = max(_DIVISOR, int(scaled + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < 0.9 * scaled else rounded
