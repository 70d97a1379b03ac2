"""The head of a frozen backbone, learnt from embeddings in seconds: for sweeps over many settings.

The figures are those that `fit` gives for the same settings, epoch by epoch; what is left out is everything
around them (checkpoints, files, devices), which costs far more than a step of a head. Runs on the processor.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from assay.nets import Classifier
from assay.recipe import Recipe, TrainSpec
from assay.training.callbacks import best_of, score
from assay.training.device import one_thread
from assay.training.ema import MovingAverage
from assay.training.history import EpochRow
from assay.training.loader import Batch, Batches, FeatureData, Order, Split
from assay.training.module import Meter, NotFiniteError, cross_entropy
from assay.training.optim import make_optimizer, parameter_groups, set_rate
from assay.training.preparation import loss_weights
from assay.training.probe import Embedded
from assay.training.schedule import Schedule, plateau_of
from assay.training.seeds import Purpose, epoch_seed


@dataclass(frozen=True, slots=True)
class HeadFit:
    """A head that was learnt."""

    rows: tuple[EpochRow, ...]
    best_epoch: int
    """Counted from 1; its weights are the head's now."""

    @property
    def best(self) -> EpochRow:
        """The figures of the best epoch."""
        return self.rows[self.best_epoch - 1]


def fit_head(network: Classifier, recipe: Recipe, train: Split, val: Split, embedded: Embedded) -> HeadFit:
    """Train a network's head in place; leave it with the weights of the best epoch, in evaluation mode.

    Args:
        network: with the head to start from; its backbone is not run.
        recipe: the training settings are heeded, but not device and precision.
        train: only the targets are looked at.
        val: only the targets are looked at.
        embedded: of both splits.

    Raises:
        NotFiniteError: the loss is no longer a finite number.
    """
    with one_thread():
        return _HeadFitting(network, recipe.train, train, val, embedded).run()


class _HeadFitting:
    """One call of `fit_head`."""

    def __init__(
        self, network: Classifier, spec: TrainSpec, train: Split, val: Split, embedded: Embedded
    ) -> None:
        network.freeze(network.depth)
        self._network = network
        self._spec = spec
        self._data = FeatureData(embedded.train, train.targets)
        self._order = Order(train.targets, spec.seed, balanced=spec.balance == "sampler")
        self._batches = Batches(self._order, spec.batch_size, join_last=True)
        self._val = _in_order(embedded.val, val.targets, spec.batch_size)
        self._class_weights = loss_weights(network, spec, train)
        self._optimizer = make_optimizer(parameter_groups(network, spec), spec)
        self._average = None if spec.ema is None else MovingAverage(network.head, spec.ema)
        self._schedule = Schedule(spec, len(self._batches), plateau_of(spec))

    def run(self) -> HeadFit:
        rows: tuple[EpochRow, ...] = ()
        kept: dict[str, Tensor] = {}
        for epoch in range(self._spec.epochs):
            meter = self._learn(epoch)
            if self._average is not None:
                self._average.swap()
            rows = (*rows, self._row(epoch, meter))
            if best_of(rows, self._spec).epoch == epoch + 1:
                kept = {name: tensor.clone() for name, tensor in self._head.state_dict().items()}
            if self._average is not None:
                self._average.swap()
            if self._schedule.plateau is not None:
                self._schedule.plateau.update(score(rows[-1], self._spec)[0])
            if waited(rows, self._spec):
                break
        self._head.load_state_dict(kept)
        self._network.freeze(0)
        self._network.eval()
        return HeadFit(rows, best_of(rows, self._spec).epoch)

    @property
    def _head(self) -> nn.Module:
        return self._network.head

    def _learn(self, epoch: int) -> Meter:
        self._order.set_epoch(epoch)
        torch.manual_seed(epoch_seed(self._spec.seed, Purpose.TORCH, epoch))
        self._head.train()
        meter = Meter()
        batches = torch.split(torch.from_numpy(self._order.keys()), self._batches.sizes())
        parameters = list(self._head.parameters())
        for step, keys in enumerate(batches, start=epoch * len(batches)):
            set_rate(self._optimizer, self._schedule.rate(step))
            inputs, targets = self._data.batch(keys)
            logits = self._head(inputs)
            loss = cross_entropy(logits, targets, self._class_weights, self._spec.label_smoothing)
            loss = loss + self._network.head_penalty()
            meter.add(loss, logits, targets)
            # Quicker than to forget gradients and to add new ones up.
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            if self._spec.gradient_clip is not None:
                nn.utils.clip_grad_norm_(parameters, self._spec.gradient_clip)
            self._optimizer.step()
            if self._average is not None:
                self._average.update()
        return meter

    @torch.no_grad()
    def _row(self, epoch: int, meter: Meter) -> EpochRow:
        self._head.eval()
        val = Meter()
        for inputs, targets in self._val:
            logits = self._head(inputs)
            val.add(cross_entropy(logits, targets), logits, targets)
        (train_loss, train_accuracy), (val_loss, val_accuracy) = meter.means(), val.means()
        if not np.isfinite([train_loss, val_loss]).all():
            raise NotFiniteError(
                f"the loss is no longer a finite number in epoch {epoch + 1}: lower train.lr, which is"
                f" {self._spec.lr:g}, or set train.gradient_clip=1"
            )
        rate = float(self._optimizer.param_groups[-1]["lr"])
        return EpochRow(epoch + 1, train_loss, train_accuracy, val_loss, val_accuracy, rate, 0.0)


def waited(rows: tuple[EpochRow, ...], spec: TrainSpec) -> bool:
    """Tell whether early stopping ends a run after these epochs.

    It does when the figure it watches has not improved on its best by more than `min_delta` for `patience`
    epochs.
    """
    rule = spec.early_stopping
    if rule is None:
        return False
    sign = 1.0 if rule.metric == "val_accuracy" else -1.0
    best, since = -np.inf, 0
    for row in rows:
        value = sign * (row.val_accuracy if rule.metric == "val_accuracy" else row.val_loss)
        if value - rule.min_delta > best:
            best, since = value, 0
        else:
            since += 1
    return since >= rule.patience


def _in_order(features: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], size: int) -> list[Batch]:
    inputs, labels = torch.from_numpy(features), torch.from_numpy(targets)
    return list(zip(torch.split(inputs, size), torch.split(labels, size), strict=True))
