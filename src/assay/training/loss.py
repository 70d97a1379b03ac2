"""The training loss with class weights, the check that it is finite, and the accumulator of loss and accuracy."""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from assay.core.errors import AssayError
from assay.recipe import TrainSpec
from assay.training.distributed import ProcessGroup


class NonFiniteLossError(AssayError):
    """The loss became infinite or NaN."""


def check_finite(losses: Iterable[float], epoch: int, spec: TrainSpec) -> None:
    """Check the losses of an epoch (counted from 0).

    Raises:
        NonFiniteLossError: a loss is infinite or NaN.
    """
    if not all(math.isfinite(loss) for loss in losses):
        raise NonFiniteLossError(
            f"the loss is no longer a finite number in epoch {epoch + 1}: lower train.lr, which is"
            f" {spec.lr:g}, or set train.gradient_clip=1"
        )


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy in nats, a scalar or [K], computed in 32 bits.

    Args:
        logits: [N, C], or [K, N, C] of K networks.
        targets: int64 [N].
        weights: float32 [C], class weights.
        smoothing: label smoothing, 0 to below 1.
    """
    rows = logits.float().flatten(0, -2)
    repeated = targets.expand(logits.shape[:-1]).flatten()
    losses = functional.cross_entropy(rows, repeated, label_smoothing=smoothing, reduction="none")
    # Not divided by the sum of the batch's weights: that would cancel them in a batch of one class.
    weighted = losses if weights is None else losses * weights[repeated]
    return weighted.view(logits.shape[:-1]).mean(dim=-1)


def class_weights(targets: npt.NDArray[np.int64], classes: int) -> Tensor:
    """Return float32 weights [C]: N / (classes present × images of the class), 0 for absent classes."""
    counts = np.bincount(targets, minlength=classes)
    present = np.count_nonzero(counts)
    weights = np.divide(len(targets) / present, counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy(weights.astype(np.float32))


def loss_weights(spec: TrainSpec, targets: npt.NDArray[np.int64], classes: int) -> Tensor | None:
    """Return the class weights [C] of a run with `train.balance=weights`, else None."""
    return class_weights(targets, classes) if spec.balance == "weights" else None


class MetricAccumulator:
    """Accumulates loss and accuracy of an epoch on the device, so that no step waits for the GPU."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._correct: list[Tensor] = []
        self._sizes: list[int] = []

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor, count: int | None = None) -> None:
        """Add a step: its mean loss, a scalar or [K], logits [N, C] or [K, N, C], and targets [N].

        With `count`, only the first images count in the metrics, but no loss may be NaN.
        """
        count = len(targets) if count is None else count
        self._losses.append(loss.detach().float())
        self._correct.append((logits.detach().argmax(dim=-1) == targets)[..., :count].sum(dim=-1))
        self._sizes.append(count)

    def reduce(self, group: ProcessGroup) -> None:
        """Combine the shares of all processes; every process then has the metrics of whole batches."""
        if group.size == 1 or not self._losses:
            return
        sizes = torch.tensor(self._sizes, dtype=torch.float64)
        losses = group.sum(torch.stack(self._losses).double().cpu() * sizes)
        correct = group.sum(torch.stack(self._correct).cpu())
        sizes = group.sum(sizes)
        self._losses, self._correct = list((losses / sizes).unbind()), list(correct.unbind())
        self._sizes = [round(size) for size in sizes.tolist()]

    def __len__(self) -> int:
        return len(self._sizes)

    def losses(self) -> npt.NDArray[np.float64]:
        """Return the loss of every step, [S] or [S, K]; synchronizes with the device."""
        return torch.stack(self._losses).double().cpu().numpy() if self._losses else np.zeros(0)

    def means(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return mean loss and accuracy of all images, each a scalar or [K]; synchronizes with the device."""
        total = sum(self._sizes)
        loss = np.sum(self.losses().T * self._sizes, axis=-1) / total
        return loss, torch.stack(self._correct).sum(dim=0).cpu().numpy() / total
