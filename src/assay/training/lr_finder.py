"""The learning-rate range test."""

import copy
import math
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import torch

from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training.curves import centered_moving_average, exponential_moving_average, plot_range_test
from assay.training.dataloaders import Batch, LabeledImages, make_augmentation, train_dataloader
from assay.training.device import select_device
from assay.training.loss import cross_entropy, loss_weights
from assay.training.optimizers import frozen_stage_count, make_optimizer, parameter_groups, set_learning_rate
from assay.training.random_streams import RandomStream, epoch_seed

_DIVERGENCE_FACTOR = 4.0
_SKIPPED_STEPS = 5


@dataclass(frozen=True, slots=True)
class RangeTestResult:
    """The result of a range test."""

    suggestion: float
    """Learning rate at which the smoothed loss falls most steeply."""
    rates: tuple[float, ...]
    """Learning rate of every step, in geometric progression."""
    losses: tuple[float, ...]
    """Smoothed training loss of every step (centered mean over nine steps)."""


def find_learning_rate(
    network: ClassifierNetwork,
    recipe: Recipe,
    train: LabeledImages,
    *,
    plot: Path | None = None,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
    progress: Progress = no_progress,
) -> RangeTestResult:
    """Run a learning-rate range test: raise the rate with every batch and find the steepest fall of the loss.

    The test ends when the smoothed loss is four times its minimum. It trains a copy of the network.

    Args:
        network: with the initial weights of the training to come.
        recipe: its strategy, optimizer, batches, loss and device are used.
        train: the training images.
        plot: PNG file for the plot.
        low: first rate, above 0.
        high: last rate, above `low`.
        steps: number of batches, 20 or more.
        progress: called after every batch.

    Raises:
        AssayError: the loss diverges from the start.
        ValueError: `low`, `high` or `steps` is out of range.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3.3.
    """
    if not 0 < low < high or steps < 20:
        raise ValueError("a range test needs 0 < low < high and 20 steps or more")
    rates = np.geomspace(low, high, steps)
    losses = _run_range_test(copy.deepcopy(network), recipe, train, rates.tolist(), progress)
    curve = centered_moving_average(losses)
    tried = rates[: len(curve)]
    if len(curve) <= 2 * _SKIPPED_STEPS:
        raise AssayError(f"the loss diverges from the first steps on: there is no learning rate to find above {low:g}")
    suggestion = steepest_rate(tried.tolist(), curve)
    if plot is not None:
        plot_range_test(plot, tried.tolist(), curve, suggestion)
    return RangeTestResult(suggestion, tuple(tried.tolist()), tuple(curve))


def steepest_rate(rates: list[float], losses: list[float]) -> float:
    """Return the rate at which the loss falls most steeply per decade, before its minimum.

    The first steps are ignored: the smoothed loss has not settled yet.
    """
    end = max(2 * _SKIPPED_STEPS, int(np.argmin(losses)) + 1)
    slope = np.gradient(np.asarray(losses[:end]), np.log10(rates[:end]))
    return rates[_SKIPPED_STEPS + int(np.argmin(slope[_SKIPPED_STEPS:]))]


def _run_range_test(
    network: ClassifierNetwork, recipe: Recipe, train: LabeledImages, rates: list[float], progress: Progress
) -> list[float]:
    spec = recipe.train
    device = select_device(spec).torch
    network.to(device)
    network.freeze(frozen_stage_count(network, spec))
    network.train()
    torch.manual_seed(epoch_seed(spec.seed, RandomStream.TORCH, 0))
    optimizer = make_optimizer(parameter_groups(network, spec), spec)
    weights = loss_weights(spec, train.targets, network.head.fc.out_features)
    weights = None if weights is None else weights.to(device)
    loader = train_dataloader(train, make_augmentation(recipe), recipe)
    batches = chain.from_iterable(repeat(loader))
    losses: list[float] = []
    for step, (rate, batch) in enumerate(zip(rates, batches, strict=False), start=1):
        if isinstance(batch, AssayError):
            raise batch
        set_learning_rate(optimizer, rate)
        loss = _training_step(network, optimizer, batch, weights, spec.label_smoothing)
        progress("trying learning rates", step, len(rates))
        if not math.isfinite(loss):
            break
        losses.append(loss)
        curve = exponential_moving_average(losses)
        if len(curve) > _SKIPPED_STEPS and curve[-1] > _DIVERGENCE_FACTOR * min(curve):
            break
    return losses


def _training_step(
    network: ClassifierNetwork,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    weights: torch.Tensor | None,
    smoothing: float,
) -> float:
    device = next(network.parameters()).device
    inputs, targets = (tensor.to(device) for tensor in batch)
    loss = cross_entropy(network(inputs).logits, targets, weights, smoothing) + network.l2_penalty()
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()
    return float(loss.detach())
