"""Training of many classifier heads at once on the embeddings of one frozen backbone.

For hyperparameter sweeps.
"""

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
from assay.recipe import Recipe, TrainSpec
from assay.training.dataloaders import BatchSampler, EmbeddingDataset, EpochSampler, LabeledImages, loss_weights
from assay.training.device import MAX_USEFUL_THREADS, torch_threads
from assay.training.feature_extraction import SplitEmbeddings
from assay.training.history import EpochMetrics, best_epoch_of, epoch_score
from assay.training.loss import MetricAccumulator, NonFiniteLossError, check_finite, cross_entropy
from assay.training.optimizers import ExponentialMovingAverage, StackedOptimizer
from assay.training.sampling import RandomStream, epoch_seed
from assay.training.schedule import TrainingSchedule, make_plateau

_PER_HEAD_SETTINGS: Any = {
    "train": {"lr", "weight_decay", "schedule", "warmup_epochs", "early_stopping", "gradient_clip"},
    "net": {"head": {"l2"}},
}
"""Settings in which the heads of a stack may differ."""
_MAX_HEADS = 32
"""Most heads in a stack."""
_MAX_WEIGHTS = 1 << 21
"""Most weights in a stack: beyond it a step is bound by memory, and more heads at a time are no faster."""
_VALIDATION_ROWS = 8192
"""Images times heads in one validation step."""


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """The result of training one head."""

    rows: tuple[EpochMetrics, ...]
    best_epoch: int
    """Counted from 1."""
    weights: dict[str, Tensor]
    """State dict of the head after the best epoch."""

    @property
    def best(self) -> EpochMetrics:
        """The metrics of the best epoch."""
        return self.rows[self.best_epoch - 1]


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
    embedded: SplitEmbeddings,
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
        embedded: embeddings of both splits.
        progress: called after every epoch.

    Returns:
        One result per recipe, in order; an error for a head whose loss became infinite or NaN.

    Raises:
        ValueError: the recipes have different keys.
    """
    if len({stack_key(recipe) for recipe in recipes}) > 1:
        raise ValueError(
            "heads of one stack may differ in learning rate, schedule, decay, L2, clipping and stopping"
        )
    if not recipes:
        return []
    with torch_threads(min(MAX_USEFUL_THREADS, cpu_count())):
        return _StackedTraining(head, recipes, train, val, embedded).run(progress)


@dataclass
class _HeadRun:
    """Progress of one head of the stack."""

    spec: TrainSpec
    schedule: TrainingSchedule
    rows: tuple[EpochMetrics, ...] = ()
    weights: dict[str, Tensor] = field(default_factory=dict)
    error: NonFiniteLossError | None = None

    @property
    def over(self) -> bool:
        return self.error is not None or stops_early(self.rows, self.spec)

    @property
    def result(self) -> TrainedHead | NonFiniteLossError:
        return self.error or TrainedHead(self.rows, self.best_epoch, self.weights)

    @property
    def best_epoch(self) -> int:
        return best_epoch_of(self.rows, self.spec).epoch

    def take(self, row: EpochMetrics) -> None:
        """Add the metrics of an epoch."""
        try:
            check_finite([row.train_loss, row.val_loss], row.epoch - 1, self.spec)
        except NonFiniteLossError as error:
            self.error = error
            return
        self.rows = (*self.rows, row)
        if self.schedule.plateau is not None:
            self.schedule.plateau.update(epoch_score(row, self.spec)[0])


class _StackedTraining:
    """One call of `fit_heads`."""

    def __init__(
        self, head: Head, recipes: Sequence[Recipe], train: LabeledImages, val: LabeledImages, embedded: SplitEmbeddings
    ) -> None:
        specs = [recipe.train for recipe in recipes]
        self._alike = specs[0]
        self._data = EmbeddingDataset(embedded.train, train.targets)
        self._order = EpochSampler(train.targets, self._alike.seed, balanced=self._alike.balance == "sampler")
        self._batches = BatchSampler(self._order, self._alike.batch_size, join_last=True)
        self._val = torch.from_numpy(embedded.val), torch.from_numpy(val.targets)
        self._class_weights = loss_weights(head, self._alike, train)
        self._stack = HeadStack(
            head,
            dropout=recipes[0].net.head.dropout,
            l2s=[recipe.net.head.l2 for recipe in recipes],
        )
        self._parameters = list(self._stack.parameters())
        self._optimizer = StackedOptimizer(self._parameters, specs)
        ema = self._alike.ema_decay
        self._average = None if ema is None else ExponentialMovingAverage(self._stack, ema)
        self._courses = [
            _HeadRun(spec, TrainingSchedule(spec, len(self._batches), make_plateau(spec))) for spec in specs
        ]

    def run(self, progress: Progress) -> list[TrainedHead | NonFiniteLossError]:
        for epoch in range(self._alike.epochs):
            rates, taught = self._learn(epoch)
            if self._average is not None:
                self._average.swap()
            self._note(epoch, rates, taught, self._judge())
            if self._average is not None:
                self._average.swap()
            progress("fitting heads", epoch + 1, self._alike.epochs)
            if all(course.over for course in self._courses):
                break
        return [course.result for course in self._courses]

    def _learn(self, epoch: int) -> tuple[Tensor, MetricAccumulator]:
        """Train for one epoch; return the learning rates of the last step and the metrics."""
        self._order.set_epoch(epoch)
        torch.manual_seed(epoch_seed(self._alike.seed, RandomStream.TORCH, epoch))
        self._stack.train()
        meter = MetricAccumulator()
        batches = torch.split(torch.from_numpy(self._order.keys()), self._batches.sizes())
        first = epoch * len(batches)
        rates = torch.tensor(
            [[course.schedule.rate(first + step) for course in self._courses] for step in range(len(batches))],
            dtype=torch.float64,
        )
        for keys, rate in zip(batches, rates.float(), strict=True):
            inputs, targets = self._data.batch(keys)
            logits = self._stack(inputs)
            losses = cross_entropy(logits, targets, self._class_weights, self._alike.label_smoothing)
            losses = losses + self._stack.penalty()
            meter.add(losses, logits, targets)
            # No head's loss depends on another's weights, so the gradient of the sum is each head's own.
            self._optimizer.step(torch.autograd.grad(losses.sum(), self._parameters), rate)
            if self._average is not None:
                self._average.update()
        return rates[-1], meter

    @torch.no_grad()
    def _judge(self) -> MetricAccumulator:
        self._stack.eval()
        meter = MetricAccumulator()
        size = _VALIDATION_ROWS // len(self._courses)
        parts = (torch.split(values, size) for values in self._val)
        for inputs, targets in zip(*parts, strict=True):
            logits = self._stack(inputs)
            meter.add(cross_entropy(logits, targets), logits, targets)
        return meter

    def _note(self, epoch: int, rates: Tensor, taught: MetricAccumulator, judged: MetricAccumulator) -> None:
        figures = np.stack([*taught.means(), *judged.means(), rates.numpy()], axis=1)
        for place, (course, values) in enumerate(zip(self._courses, figures.tolist(), strict=True)):
            if course.over:
                continue
            train_loss, train_accuracy, val_loss, val_accuracy, rate = values
            course.take(EpochMetrics(epoch + 1, train_loss, train_accuracy, val_loss, val_accuracy, rate, seconds=0.0))
            if course.error is None and course.best_epoch == epoch + 1:
                course.weights = self._stack.state_of(place)


def stops_early(rows: tuple[EpochMetrics, ...], spec: TrainSpec) -> bool:
    """Return whether early stopping ends a run after these epochs.

    It does when its metric has not exceeded the best value by more than `min_delta` for `patience` epochs.
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
