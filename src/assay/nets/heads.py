"""What stands behind the pooled features: one linear layer, or dense layers before it.

Knows nothing of images.
"""

import torch
from torch import Tensor, nn

from assay.nets.dropout import Dropout
from assay.recipe import HeadSpec


class Head(nn.Module):
    """Maps embeddings to logits: [dropout, dense, batch norm, ReLU] for every hidden layer, dropout, linear.

    The last layer is called `fc`, as in torchvision. Where it is the only one, its weights times the feature
    map are the class activation map (Zhou et al., "Learning Deep Features for Discriminative Localization",
    2016).

    Batch norm needs two samples or more in a training batch.

    Args:
        spec: widths of the hidden layers, dropout, batch norm and L2.
        features: D, the size of an embedding.
        classes: C, the number of classes.
    """

    def __init__(self, spec: HeadSpec, features: int, classes: int) -> None:
        super().__init__()
        self.l2 = spec.l2
        self.hidden = nn.Sequential()
        for width in spec.hidden:
            dense = nn.Linear(features, width, bias=not spec.batch_norm)
            nn.init.kaiming_normal_(dense.weight, nonlinearity="relu")
            norm = nn.BatchNorm1d(width) if spec.batch_norm else nn.Identity()
            self.hidden.append(nn.Sequential(Dropout(spec.dropout), dense, norm, nn.ReLU()))
            features = width
        self.dropout = Dropout(spec.dropout)
        self.fc = nn.Linear(features, classes)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return logits, float [N, C], of embeddings, float [N, D]."""
        logits: Tensor = self.fc(self.dropout(self.hidden(embedding)))
        return logits

    @property
    def is_linear(self) -> bool:
        """Whether there are no hidden layers."""
        return len(self.hidden) == 0

    def penalty(self) -> Tensor:
        """Return λ·Σw² over the weights of all linear layers (not their biases), a scalar."""
        if self.l2 == 0:
            return torch.zeros((), device=self.fc.weight.device)
        layers = [module for module in self.modules() if isinstance(module, nn.Linear)]
        return self.l2 * torch.stack([layer.weight.square().sum() for layer in layers]).sum()
