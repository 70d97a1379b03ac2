"""Classifier heads, linear or with hidden layers, and a stack of heads that are trained together."""

import copy
from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from assay.nets.dropout import Dropout
from assay.recipe import HeadSpec


class Head(nn.Module):
    """Maps embeddings to logits: [dropout, dense, batch norm, ReLU] for every hidden layer, dropout, linear.

    The last layer is called `fc`, as in torchvision. If it is the only one, its weights times the feature map are the
    class activation map (Zhou et al., "Learning Deep Features for Discriminative Localization", 2016). Batch norm
    needs two samples or more in a training batch.

    Args:
        spec: hidden layers, dropout and regularization.
        features: length of an embedding, D.
        classes: number of classes, C.
        labels_per_class: number of labels that each class combines, in order. In training mode the logits are those of
            the labels, otherwise those of the classes, whose probabilities are sums; none: a class is a label.
    """

    def __init__(
        self, spec: HeadSpec, features: int, classes: int, labels_per_class: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.features = features
        self.l2 = spec.l2
        self.labels_per_class = labels_per_class
        self.hidden = nn.Sequential()
        for width in spec.hidden:
            dense = nn.Linear(features, width, bias=not spec.batch_norm)
            nn.init.kaiming_normal_(dense.weight, nonlinearity="relu")
            norm = nn.BatchNorm1d(width) if spec.batch_norm else nn.Identity()
            self.hidden.append(nn.Sequential(Dropout(spec.dropout), dense, norm, nn.ReLU()))
            features = width
        self.dropout = Dropout(spec.dropout)
        self.fc = nn.Linear(features, sum(labels_per_class) if labels_per_class else classes)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return logits, float [N, C], of embeddings, float [N, D]."""
        logits: Tensor = self.fc(self.dropout(self.hidden(embedding)))
        if self.labels_per_class is None or self.training:
            return logits
        labels = iter(logits.unbind(dim=1))
        sums = [torch.stack(list(islice(labels, count))).logsumexp(dim=0) for count in self.labels_per_class]
        return torch.stack(sums, dim=1)

    @property
    def is_linear(self) -> bool:
        """Whether the logits are a linear function of the embedding."""
        return len(self.hidden) == 0 and self.labels_per_class is None

    def l2_penalty(self) -> Tensor:
        """Return λ·Σw² over the weights of all linear layers (not their biases), a scalar."""
        if self.l2 == 0:
            return torch.zeros((), device=self.fc.weight.device)
        layers = [module for module in self.modules() if isinstance(module, nn.Linear)]
        return self.l2 * torch.stack([layer.weight.square().sum() for layer in layers]).sum()


class HeadStack(nn.Module):
    """K heads in one module, with the same initial weights and dropout, and separate L2 penalties `l2s`.

    Every tensor of a head is stacked K times along a new first dimension; a step of all heads costs little
    more than that of one. In training mode all heads drop the same features, as each would alone.
    """

    def __init__(self, head: Head, dropout: float, l2s: Sequence[float]) -> None:
        super().__init__()
        self.head = copy.deepcopy(head)
        _stack_layers(self.head, dropout, len(l2s))
        self._weights = [module.weight for module in self.modules() if isinstance(module, _StackedLinear)]
        self._l2 = torch.tensor(l2s)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return logits, float [K, N, C], of embeddings, float [N, D]."""
        logits: Tensor = self.head(embedding)
        return logits.contiguous()

    def l2_penalty(self) -> Tensor:
        """Return the L2 penalty of every head, float [K]."""
        if not self._l2.any():
            return torch.zeros_like(self._l2)
        squares = [weight.square().sum(dim=(1, 2)) for weight in self._weights]
        # 0 × inf would be NaN where the weights of an unpenalized head overflow.
        return torch.where(self._l2 > 0, self._l2 * torch.stack(squares).sum(dim=0), 0.0)

    def state_of(self, place: int) -> dict[str, Tensor]:
        """Return a copy of the state dict of one head (counted from 0) with the names of `Head`."""
        return {name: tensor[place].clone() for name, tensor in self.head.state_dict().items()}


def _stack_layers(module: nn.Module, dropout: float, count: int) -> None:
    for name, layer in module.named_children():
        match layer:
            case nn.Linear():
                setattr(module, name, _StackedLinear(layer, count))
            case nn.BatchNorm1d():
                setattr(module, name, _StackedBatchNorm(layer, count))
            case Dropout():
                setattr(module, name, _StackedDropout(dropout))
            case _:
                _stack_layers(layer, dropout, count)


def _repeat(tensor: Tensor, count: int) -> Tensor:
    return tensor.detach().expand(count, *tensor.shape).clone()


class _StackedLinear(nn.Module):
    """K linear layers; maps [K, N, I], or a shared [N, I], to [K, N, O]."""

    def __init__(self, layer: nn.Linear, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_repeat(layer.weight, count))
        self.register_parameter("bias", None)
        if layer.bias is not None:
            self.bias = nn.Parameter(_repeat(layer.bias, count))

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.ndim == 2:
            products = (self.weight.flatten(0, 1) @ inputs.T).view(*self.weight.shape[:2], -1)
        else:
            # With few outputs, weights @ inputs is several times faster than inputs @ weights.
            products = torch.bmm(self.weight, inputs.transpose(1, 2))
        outputs = products.transpose(1, 2)
        return outputs if self.bias is None else outputs + self.bias[:, None]


class _StackedBatchNorm(nn.Module):
    """K batch norms of [K, N, W], computed as one batch norm of K × W channels."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layer: nn.BatchNorm1d, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_repeat(layer.weight, count))
        self.bias = nn.Parameter(_repeat(layer.bias, count))
        for name, tensor in layer.named_buffers():
            self.register_buffer(name, _repeat(tensor, count))
        self._momentum, self._eps = layer.momentum or 0.0, layer.eps

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked.add_(1)
        found = functional.batch_norm(
            inputs.transpose(0, 1).flatten(1),
            # Views, so that the statistics are updated in place.
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.flatten(),
            self.bias.flatten(),
            self.training,
            self._momentum,
            self._eps,
        )
        return found.view(-1, *self.weight.shape).transpose(0, 1)


class _StackedDropout(Dropout):
    """The same dropout for K heads; input [K, N, W], or a shared [N, W]."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        if input.ndim == 2 or not self.training:
            return super().forward(input)
        return input * super().forward(torch.ones_like(input[0]))
