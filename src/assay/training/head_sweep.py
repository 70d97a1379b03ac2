"""Training of many classifier heads at once on the embeddings of one frozen backbone, for hyperparameter sweeps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.core.cpu import cpu_count
from assay.core.progress import Progress, no_progress
from assay.nets import Head
from assay.nets.heads import HeadStack
from assay.recipe import Recipe
from assay.training.dataloaders import EmbeddingDataset, LabeledImages
from assay.training.device import MAX_USEFUL_THREADS, torch_threads
from assay.training.feature_extraction import SplitEmbeddings
from assay.training.history import EpochMetrics, best_epoch_of
from assay.training.loss import MetricAccumulator, NonFiniteLossError, check_finite, cross_entropy, loss_weights
from assay.training.optimizers import StackedOptimizer
from assay.training.random_streams import RandomStream, epoch_seed
from assay.training.sampling import BatchSampler, EpochSampler
from assay.training.training_schedule import TrainingSchedule
from assay.training.weight_average import ExponentialMovingAverage

_PER_HEAD_SETTINGS: Any = {
    "train": {"lr", "weight_decay", "schedule", "warmup_epochs", "early_stopping", "gradient_clip"},
    "net": {"head": {"l2"}},
}
"""Settings in which the heads of a stack may differ."""
_MAX_HEADS = 32
"""Maximum number of heads in a stack."""
_MAX_WEIGHTS = 1 << 21
"""Maximum number of weights in a stack; larger stacks are limited by memory bandwidth and no faster."""
_VALIDATION_ROWS = 8192
"""Images times heads in one validation step."""


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """The result of training one head."""

    metrics: tuple[EpochMetrics, ...]
    """Of every epoch, in order."""
    best_epoch: int
    """Counted from 1."""
    weights: dict[str, Tensor]
    """State dict of the head after the best epoch."""

    @property
    def best(self) -> EpochMetrics:
        """The metrics of the best epoch."""
        return self.metrics[self.best_epoch - 1]


def stack_key(recipe: Recipe) -> str:
    """Return a key; recipes with equal keys can train their heads in one stack on the same images."""
    return recipe.model_dump_json(include={"train", "net"}, exclude=_PER_HEAD_SETTINGS)


def stack_size(head: Head) -> int:
    """Return how many heads of this shape to train at a time."""
    weights = sum(parameter.numel() for parameter in head.parameters())
    return max(1, min(_MAX_HEADS, _MAX_WEIGHTS // weights))


def fit_heads(
    head: Head,
    recipes: Sequence[Recipe],
    train: LabeledImages,
    val: LabeledImages,
    embeddings: SplitEmbeddings,
    *,
    progress: Progress = no_progress,
) -> list[TrainedHead | NonFiniteLossError]:
    """Train several heads from the same initial weights, each with its own recipe, on the CPU.

    Epoch by epoch, the metrics equal those of `fit` with the same settings up to the rounding of sums (which
    Adam can amplify where batch norm leaves a weight's scale free: differences of 4e-4 in the loss were
    seen). Every step's batch and random numbers are shared by all heads: they cost far more than the step of
    one head. No checkpoints or files are written.

    Args:
        head: with the initial weights; it is not changed.
        recipes: at most `stack_size`, of equal `stack_key`; their device and precision are ignored.
        train: only its targets are used.
        val: only its targets are used.
        embeddings: of both splits.
        progress: called after every epoch.

    Returns:
        One result per recipe, in order; an error for a head whose loss became infinite or NaN.

    Raises:
        ValueError: the recipes have different keys.
    """
    if len({stack_key(recipe) for recipe in recipes}) > 1:
        raise ValueError("heads of one stack may differ in learning rate, schedule, decay, L2, clipping and stopping")
    if not recipes:
        return []
    with torch_threads(min(MAX_USEFUL_THREADS, cpu_count())):
        return _StackedTraining(head, recipes, train, val, embeddings).run(progress)


@dataclass
class _HeadRun:
    """Progress of one head of the stack."""

    schedule: TrainingSchedule
    metrics: tuple[EpochMetrics, ...] = ()
    weights: dict[str, Tensor] = field(default_factory=dict)
    error: NonFiniteLossError | None = None

    @property
    def ended(self) -> bool:
        return self.error is not None or self.schedule.stops_early

    @property
    def best_epoch(self) -> int:
        return best_epoch_of(self.metrics, self.schedule.spec).epoch

    def result(self) -> TrainedHead | NonFiniteLossError:
        return self.error or TrainedHead(self.metrics, self.best_epoch, self.weights)

    def end_epoch(self, metrics: EpochMetrics) -> None:
        try:
            check_finite([metrics.train_loss, metrics.val_loss], metrics.epoch - 1, self.schedule.spec)
        except NonFiniteLossError as error:
            self.error = error
            return
        self.metrics = (*self.metrics, metrics)
        self.schedule.end_epoch(metrics)


class _StackedTraining:
    """One call of `fit_heads`."""

    def __init__(
        self,
        head: Head,
        recipes: Sequence[Recipe],
        train: LabeledImages,
        val: LabeledImages,
        embeddings: SplitEmbeddings,
    ) -> None:
        specs = [recipe.train for recipe in recipes]
        self._spec = spec = specs[0]  # for the settings in which all heads agree
        self._data = EmbeddingDataset(embeddings.train, train.targets)
        self._sampler = EpochSampler(train.targets, spec.seed, balanced=spec.balance == "sampler")
        self._batches = BatchSampler(self._sampler, spec.batch_size, merge_single=True)
        self._val = torch.from_numpy(embeddings.val), torch.from_numpy(val.targets)
        self._class_weights = loss_weights(spec, train.targets, head.fc.out_features)
        self._stack = HeadStack(
            head,
            dropout=recipes[0].net.head.dropout,
            l2s=[recipe.net.head.l2 for recipe in recipes],
        )
        self._parameters = list(self._stack.parameters())
        self._optimizer = StackedOptimizer(self._parameters, specs)
        self._ema = None if spec.ema_decay is None else ExponentialMovingAverage(self._stack, spec.ema_decay)
        self._heads = [_HeadRun(TrainingSchedule(spec, len(self._batches))) for spec in specs]

    def run(self, progress: Progress) -> list[TrainedHead | NonFiniteLossError]:
        for epoch in range(self._spec.epochs):
            rates, train = self._train_epoch(epoch)
            if self._ema is not None:
                self._ema.swap()
            self._end_epoch(epoch, rates, train, self._validate())
            if self._ema is not None:
                self._ema.swap()
            progress("fitting heads", epoch + 1, self._spec.epochs)
            if all(head.ended for head in self._heads):
                break
        return [head.result() for head in self._heads]

    def _train_epoch(self, epoch: int) -> tuple[Tensor, MetricAccumulator]:
        """Train for one epoch; return the learning rates of the last step and the metrics."""
        self._sampler.set_epoch(epoch)
        torch.manual_seed(epoch_seed(self._spec.seed, RandomStream.TORCH, epoch))
        self._stack.train()
        metrics = MetricAccumulator()
        batches = torch.split(torch.from_numpy(self._sampler.keys()), self._batches.sizes())
        steps = range(epoch * len(batches), (epoch + 1) * len(batches))
        rates = torch.tensor(
            [[head.schedule.learning_rate(step) for head in self._heads] for step in steps], dtype=torch.float64
        )
        for keys, rate in zip(batches, rates.float(), strict=True):
            inputs, targets = self._data.batch(keys)
            logits = self._stack(inputs)
            losses = cross_entropy(logits, targets, self._class_weights, self._spec.label_smoothing)
            losses = losses + self._stack.l2_penalty()
            metrics.add(losses, logits, targets)
            # No head's loss depends on another's weights, so the gradient of the sum is each head's own.
            self._optimizer.step(torch.autograd.grad(losses.sum(), self._parameters), rate)
            if self._ema is not None:
                self._ema.update()
        return rates[-1], metrics

    @torch.no_grad()
    def _validate(self) -> MetricAccumulator:
        self._stack.eval()
        metrics = MetricAccumulator()
        size = _VALIDATION_ROWS // len(self._heads)
        batches = (torch.split(tensor, size) for tensor in self._val)
        for inputs, targets in zip(*batches, strict=True):
            logits = self._stack(inputs)
            metrics.add(cross_entropy(logits, targets), logits, targets)
        return metrics

    def _end_epoch(self, epoch: int, rates: Tensor, train: MetricAccumulator, val: MetricAccumulator) -> None:
        values = np.stack([*train.means(), *val.means(), rates.numpy()], axis=1).tolist()
        for index, (head, (train_loss, train_accuracy, val_loss, val_accuracy, rate)) in enumerate(
            zip(self._heads, values, strict=True)
        ):
            if head.ended:
                continue
            head.end_epoch(
                EpochMetrics(epoch + 1, train_loss, train_accuracy, val_loss, val_accuracy, rate, seconds=0.0)
            )
            if head.error is None and head.best_epoch == epoch + 1:
                head.weights = self._stack.state_of(index)
