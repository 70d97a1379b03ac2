"""A backbone and a head as one module: pixels as they are in, all that is asked of a network out.

Normalisation happens inside, so that no user of the network can forget it. Knows nothing of files or
training.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from assay.errors import UsageError
from assay.nets.backbone import Backbone
from assay.nets.heads import Head
from assay.recipe.preprocess import Channels


class Outputs(NamedTuple):
    """Output of a classifier for N images."""

    logits: Tensor
    """float [N, C], before softmax."""
    embedding: Tensor
    """float [N, D], the globally average-pooled feature map."""
    featuremap: Tensor
    """float [N, K, h, w] with K = D, the output of the backbone."""


_SIMD_BLOCK = 16
"""32-bit values in the widest vector register that oneDNN has kernels for (AVX-512)."""


def fast_layout(backbone: nn.Module) -> torch.memory_format:
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


class Classifier(nn.Module):
    """Maps pixels to logits: normalization, backbone, global average pooling, head.

    Args:
        backbone: maps normalized images to a feature map.
        head: maps embeddings to logits.
        mean: mean of each RGB channel on a 0-1 scale.
        std: standard deviation of each RGB channel on a 0-1 scale.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, head: Head, mean: Channels, std: Channels) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.backbone = backbone
        self.head = head
        self.memory_format = fast_layout(backbone)
        self._frozen = 0

    def forward(self, images: Tensor) -> Outputs:
        """Classify RGB images, uint8 [N, S, S, 3]."""
        featuremap = self.featuremap(images)
        embedding = featuremap.mean(dim=(2, 3))
        return Outputs(self.head(embedding), embedding, featuremap)

    def featuremap(self, images: Tensor) -> Tensor:
        """Return the backbone's output, float [N, K, h, w], for uint8 images [N, S, S, 3].

        The permutation to [N, 3, S, S] is a view, so that convolutions run in the faster channels-last layout
        unless `memory_format` forbids it.
        """
        pixels = images.permute(0, 3, 1, 2).to(self.mean.dtype)
        if self.memory_format is torch.contiguous_format:
            pixels = pixels.contiguous()
        mean, std = self.mean.view(3, 1, 1), self.std.view(3, 1, 1)
        features: Tensor = self.backbone((pixels - 255 * mean) / (255 * std))
        return features

    def embed(self, images: Tensor) -> Tensor:
        """Return the embeddings, float [N, D], of uint8 images [N, S, S, 3]; `head` maps them to logits."""
        return self.featuremap(images).mean(dim=(2, 3))

    def lay_out(self, layout: torch.memory_format) -> None:
        """Convert the weights of convolutions to a memory format, in place.

        Weights in the format of the activations need no conversion in every step.
        """
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)

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
        """Freeze the first `stages` stages of the backbone and unfreeze all others.

        A frozen stage gets no gradients and stays in evaluation mode even after `train()`: its batch norms
        keep their statistics and its dropout is off.

        Args:
            stages: number of stages; the stem is the first one, and `depth` freezes the whole backbone.

        Raises:
            UsageError: the backbone has fewer stages.
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
        """Set training or evaluation mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        for stage in self.backbone.stages()[: self._frozen]:
            for module in stage:
                module.eval()
        return self

    def head_penalty(self) -> Tensor:
        """Return the L2 penalty of the head, a scalar to add to the loss."""
        return self.head.penalty()
