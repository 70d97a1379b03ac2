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
    """What a classifier says of N images."""

    logits: Tensor
    """float [N, C]: before softmax."""
    embedding: Tensor
    """float [N, D]: the feature map averaged over its area."""
    featuremap: Tensor
    """float [N, K, h, w] with K = D: what the backbone saw, and where."""


_SIMD_BLOCK = 16
"""Numbers of 32 bits in the widest register of a processor that oneDNN has kernels for (AVX-512)."""


def fast_layout(backbone: nn.Module) -> torch.memory_format:
    """Return the memory layout that a backbone's tensors should have: channels last where it is safe.

    It is not safe with a strided 1x1 convolution of fewer input channels than the processor's registers hold
    numbers: for these, oneDNN 3.12 (in torch 2.13) writes past its workspace in the backward pass. The
    process ends, or the gradients are wrong.

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
    """Pixels to logits: normalise, backbone, global average pooling, head.

    Args:
        backbone: normalised images to a feature map.
        head: embeddings to logits.
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
        """Classify images.

        Args:
            images: uint8 [N, S, S, 3], RGB.

        Returns:
            Logits, embedding and feature map.
        """
        featuremap = self.featuremap(images)
        embedding = featuremap.mean(dim=(2, 3))
        return Outputs(self.head(embedding), embedding, featuremap)

    def featuremap(self, images: Tensor) -> Tensor:
        """Return the backbone's output, float [N, K, h, w], of uint8 images [N, S, S, 3].

        The view from [N, S, S, 3] to [N, 3, S, S] keeps the bytes where they are, so that convolutions run in
        the channels-last layout, the faster one, unless `memory_format` says that they must not.
        """
        pixels = images.permute(0, 3, 1, 2).to(self.mean.dtype)
        if self.memory_format is torch.contiguous_format:
            pixels = pixels.contiguous()
        mean, std = self.mean.view(3, 1, 1), self.std.view(3, 1, 1)
        features: Tensor = self.backbone((pixels - 255 * mean) / (255 * std))
        return features

    def embed(self, images: Tensor) -> Tensor:
        """Return embeddings, float [N, D], of uint8 images [N, S, S, 3]; `head` turns them into logits."""
        return self.featuremap(images).mean(dim=(2, 3))

    def lay_out(self, layout: torch.memory_format) -> None:
        """Store the weights of convolutions in a memory layout, in place; their values stay.

        In the layout of what runs through them, they need not be turned around in every step.
        """
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)

    def parameter_stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by stage, the stem first and the head last, each exactly once."""
        stages = [
            [parameter for module in stage for parameter in module.parameters()]
            for stage in [*self.backbone.stages(), [self.head]]
        ]
        known = {id(parameter) for stage in stages for parameter in stage}
        # Some networks hold parameters outside their blocks, such as position embeddings: those are early
        # ones.
        stages[0] += [parameter for parameter in self.parameters() if id(parameter) not in known]
        return stages

    def freeze(self, stages: int) -> None:
        """Keep the first `stages` stages of the backbone as they are, and let all others learn.

        A frozen stage gets no gradients, and stays in evaluation mode whatever `train()` says: its batch
        norms keep their statistics and its dropout drops nothing.

        Args:
            stages: how many, the stem being the first; 0 frees all, `depth` freezes the whole backbone.

        Raises:
            UsageError: there are fewer stages.
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
        """How many stages the backbone has."""
        return len(self.backbone.stages())

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        for stage in self.backbone.stages()[: self._frozen]:
            for module in stage:
                module.eval()
        return self

    def head_penalty(self) -> Tensor:
        """Return the L2 penalty of the head, a scalar to add to the loss; 0 where the recipe sets none."""
        return self.head.penalty()
