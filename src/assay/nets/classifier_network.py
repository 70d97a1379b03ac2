"""The classifier module (normalization, backbone, pooling, head), and the factory that creates it from settings."""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from assay.core.errors import UsageError
from assay.nets.backbone import Backbone
from assay.nets.convnet import ConvNet
from assay.nets.efficientnet_lite import EFFICIENTNET_LITES, EfficientNetLite
from assay.nets.heads import Head
from assay.nets.intermediate_features import AppendDeviations
from assay.nets.resnet import RESNETS, ResNet
from assay.nets.timm_backbone import TIMM_PREFIX, TimmBackbone, timm_normalization
from assay.recipe import NetSpec
from assay.recipe.preprocess import Channels


class ClassifierOutput(NamedTuple):
    """Output of a classifier for N images."""

    logits: Tensor
    """float [N, C], before softmax."""
    embedding: Tensor
    """float [N, D], the globally average-pooled feature map."""
    featuremap: Tensor
    """float [N, D, h, w]: the last feature map of the backbone, and those of `AppendDeviations`, if any."""


_SIMD_BLOCK = 16
"""32-bit values in the widest vector register that oneDNN has kernels for (AVX-512)."""


def preferred_memory_format(backbone: nn.Module) -> torch.memory_format:
    """Return the memory format of a backbone's tensors: channels last where that is safe.

    It is not safe for a strided 1x1 convolution with fewer input channels than a vector register has lanes:
    oneDNN 3.12 (in torch 2.13) writes past its workspace in the backward pass, which ends the process or
    gives wrong gradients.

    Source: oneDNN issue 6035, 2026; seen with AVX2 kernels, 4 channels and stride 2.
    """
    narrow = any(
        isinstance(module, nn.Conv2d)
        and set(module.kernel_size) == {1}
        and max(module.stride) > 1
        and module.in_channels // module.groups < _SIMD_BLOCK
        for module in backbone.modules()
    )
    return torch.contiguous_format if narrow else torch.channels_last


class ClassifierNetwork(nn.Module):
    """Maps pixels to logits: normalization, backbone, global average pooling, head.

    Args:
        backbone: maps normalized images to a feature map.
        head: maps embeddings to logits.
        mean: mean of each RGB channel on a 0-1 scale.
        std: standard deviation of each RGB channel on a 0-1 scale.
        flip_average: in evaluation mode, average the feature maps of an image and of its mirror image.
        intermediate_features: append the standard deviations of the backbone's intermediate feature maps.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        mean: Channels,
        std: Channels,
        *,
        flip_average: bool = False,
        intermediate_features: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.backbone = backbone
        self.head = head
        self.memory_format = preferred_memory_format(backbone)
        self.flip_average = flip_average
        appends = intermediate_features and backbone.intermediate_channels
        self.append_deviations = AppendDeviations() if appends else None
        self.freeze_batch_norm = False
        self._frozen = 0

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Classify RGB images, uint8 [N, S, S, 3]."""
        featuremap = self.featuremap(images)
        embedding = featuremap.mean(dim=(2, 3))
        return ClassifierOutput(self.head(embedding), embedding, featuremap)

    def featuremap(self, images: Tensor) -> Tensor:
        """Return the feature map, float [N, D, h, w], of uint8 images [N, S, S, 3]."""
        inputs = self.normalize(images)
        features = self._features(inputs)
        if self.flip_average and not self.training:
            # Not an addition, which a quantized model would round to 8 bits.
            features = torch.stack([features, self._features(inputs.flip(3)).flip(3)]).mean(dim=0)
        return features

    def normalize(self, images: Tensor) -> Tensor:
        """Return the input of the backbone, float [N, 3, S, S], for uint8 images [N, S, S, 3].

        The permutation to [N, 3, S, S] is a view, so that convolutions run in the faster channels-last layout
        unless `memory_format` forbids it.
        """
        pixels = images.permute(0, 3, 1, 2).to(self.mean.dtype)
        if self.memory_format is torch.contiguous_format:
            pixels = pixels.contiguous()
        mean, std = self.mean.view(3, 1, 1), self.std.view(3, 1, 1)
        inputs: Tensor = (pixels - 255 * mean) / (255 * std)
        return inputs

    def _features(self, inputs: Tensor) -> Tensor:
        if self.append_deviations is None:
            features: Tensor = self.backbone(inputs)
        else:
            features = self.append_deviations(self.backbone.feature_maps(inputs))
        return features

    def embed(self, images: Tensor) -> Tensor:
        """Return the embeddings, float [N, D], of uint8 images [N, S, S, 3]; `head` maps them to logits."""
        return self.featuremap(images).mean(dim=(2, 3))

    def set_memory_format(self, memory_format: torch.memory_format) -> None:
        """Convert the weights of convolutions to a memory format, in place.

        Weights in the format of the activations need no conversion in every step.
        """
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=memory_format)

    def parameter_stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by stage, the stem first and the head last; each parameter once."""
        stages = [
            [parameter for module in stage for parameter in module.parameters()]
            for stage in [*self.backbone.stages(), [self.head]]
        ]
        known = {id(parameter) for stage in stages for parameter in stage}
        # Parameters outside the blocks, such as position embeddings, belong to the stem.
        stages[0] += [parameter for parameter in self.parameters() if id(parameter) not in known]
        return stages

    def freeze(self, stages: int) -> None:
        """Freeze the first `stages` stages of the backbone, of which the stem is the first, and unfreeze all others.

        A frozen stage gets no gradients and stays in evaluation mode even after `train()`: its batch norms
        keep their statistics and its dropout is off. Raises `UsageError` if the backbone has fewer stages.
        """
        if not 0 <= stages <= self.depth:
            raise UsageError(
                f"train.freeze is {stages}, but the network has {self.depth} stages before its head: "
                f"choose 0-{self.depth}"
            )
        self._frozen = stages
        for index, parameters in enumerate(self.parameter_stages()):
            for parameter in parameters:
                parameter.requires_grad_(index >= stages)
        self.train(self.training)

    @property
    def depth(self) -> int:
        """Number of stages of the backbone."""
        return len(self.backbone.stages())

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen stages, and batch norms on request, stay in evaluation mode."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        for stage in self.backbone.stages()[: self._frozen]:
            for module in stage:
                module.eval()
        return self

    def l2_penalty(self) -> Tensor:
        """Return the L2 penalty of the head, a scalar to add to the loss."""
        return self.head.l2_penalty()


_IMAGENET: tuple[Channels, Channels] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF: tuple[Channels, Channels] = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_LITE: tuple[Channels, Channels] = (127 / 255,) * 3, (128 / 255,) * 3


def create_classifier(
    spec: NetSpec | str,
    classes: int,
    *,
    mean: Channels | None = None,
    std: Channels | None = None,
    size: int = 224,
    labels_per_class: tuple[int, ...] | None = None,
) -> ClassifierNetwork:
    """Create a classifier with random weights from torch's global generator.

    Args:
        spec: the network's settings, or only its name.
        classes: number of classes, two or more.
        mean: mean of each RGB channel on a 0-1 scale; None: that of `default_normalization`.
        std: standard deviation of each RGB channel, likewise.
        size: side of the input in pixels. Only networks of the timm library depend on it; for `convnet` it
            must leave at least one pixel after the last pooling.
        labels_per_class: see `Head`.

    Raises:
        UsageError: fewer than two classes, or a size too small for the network.
        AssayError: the name starts with `timm:`, and timm is not installed or has no such network.
    """
    spec = NetSpec(name=spec) if isinstance(spec, str) else spec
    if classes < 2:
        raise UsageError(f"a classifier needs two classes, not {classes}: add photos of another class")
    backbone = _create_backbone(spec, size)
    usual_mean, usual_std = default_normalization(spec.name)
    features = backbone.channels + (sum(backbone.intermediate_channels) if spec.intermediate_features else 0)
    head = Head(spec.head, features, classes, labels_per_class)
    return ClassifierNetwork(
        backbone,
        head,
        mean or usual_mean,
        std or usual_std,
        flip_average=spec.flip_average,
        intermediate_features=spec.intermediate_features,
    )


def default_normalization(name: str) -> tuple[Channels, Channels]:
    """Return the mean and standard deviation, on a 0-1 scale, of the RGB channels that a network was trained with.

    For networks without published weights both are 0.5, which maps pixels to -1 ... 1. Raises `AssayError` for a
    `timm:NAME` if timm is not installed or has no such network.
    """
    if name.startswith(TIMM_PREFIX):
        return timm_normalization(name)
    if name in EFFICIENTNET_LITES:
        return _LITE
    # The weights of resnet50v2 come from the timm library; they were trained on pixels from -1 to 1.
    return _IMAGENET if name in RESNETS and name != "resnet50v2" else _HALF


def uses_intermediate_features(spec: NetSpec) -> bool:
    """Return whether a network has intermediate features: whether it is to, and is an EfficientNet or a deep ResNet."""
    resnet = RESNETS.get(spec.name, spec.resnet if spec.name == "resnet" else None)
    offered = spec.name in EFFICIENTNET_LITES if resnet is None else len(resnet.layers) > 2
    return spec.intermediate_features and offered


def _create_backbone(spec: NetSpec, size: int) -> Backbone:
    if spec.name.startswith(TIMM_PREFIX):
        return TimmBackbone(spec.name, size)
    if spec.name in EFFICIENTNET_LITES:
        return EfficientNetLite(EFFICIENTNET_LITES[spec.name])
    if spec.name == "convnet":
        blocks = len(spec.convnet.filters)
        if size < 2**blocks:
            raise UsageError(f"preprocess.size is {size}, but a convnet of {blocks} blocks needs {2**blocks} or more")
        return ConvNet(spec.convnet)
    return ResNet(RESNETS.get(spec.name, spec.resnet))
