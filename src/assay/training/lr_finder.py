"""The learning-rate range test: how fast a network can learn before it falls apart.

Works on a copy of the network, with the recipe's optimiser, loss and batches.
"""

import copy
import math
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import torch

from assay.errors import AssayError
from assay.nets import Classifier
from assay.progress import Progress, silent
from assay.recipe import Recipe
from assay.training.curves import centred, draw_range_test, smoothed
from assay.training.device import choose
from assay.training.loader import Batch, Split
from assay.training.loss import cross_entropy
from assay.training.optim import frozen_stages, make_optimizer, parameter_groups, set_rate
from assay.training.preparation import augmentation, loss_weights, training_loader
from assay.training.seeds import Purpose, epoch_seed

_DIVERGED = 4.0
_SKIPPED = 5


@dataclass(frozen=True, slots=True)
class RateFinding:
    """The result of a range test."""

    suggestion: float
    """Learning rate at which the smoothed loss falls most steeply."""
    rates: tuple[float, ...]
    """Learning rate of every step, in geometric progression."""
    losses: tuple[float, ...]
    """Smoothed training loss of every step (centered mean over nine steps)."""


def find_learning_rate(
    network: Classifier,
    recipe: Recipe,
    train: Split,
    *,
    picture: Path | None = None,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
    progress: Progress = silent,
) -> RateFinding:
    """Run a learning-rate range test: raise the rate with every batch and find the steepest fall of the loss.

    The test ends when the smoothed loss is four times its minimum. It trains a copy of the network.

    Args:
        network: with the initial weights of the training to come.
        recipe: its strategy, optimizer, batches, loss and device are used.
        train: the training images.
        picture: PNG file for the plot.
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
    losses = _losses(copy.deepcopy(network), recipe, train, rates.tolist(), progress)
    curve = centred(losses)
    tried = rates[: len(curve)]
    if len(curve) <= 2 * _SKIPPED:
        raise AssayError(
            f"the loss diverges from the first steps on: there is no learning rate to find above {low:g}"
        )
    suggestion = steepest(tried.tolist(), curve)
    if picture is not None:
        draw_range_test(picture, tried.tolist(), curve, suggestion)
    return RateFinding(suggestion, tuple(tried.tolist()), tuple(curve))


def steepest(rates: list[float], losses: list[float]) -> float:
    """Return the rate at which the loss falls most steeply per decade, before its minimum.

    The first steps are ignored: the smoothed loss has not settled yet.
    """
    end = max(2 * _SKIPPED, int(np.argmin(losses)) + 1)
    slope = np.gradient(np.asarray(losses[:end]), np.log10(rates[:end]))
    return rates[_SKIPPED + int(np.argmin(slope[_SKIPPED:]))]


def _losses(
    network: Classifier, recipe: Recipe, train: Split, rates: list[float], progress: Progress
) -> list[float]:
    spec = recipe.train
    device = choose(spec).torch
    network.to(device)
    network.freeze(frozen_stages(network, spec))
    network.train()
    torch.manual_seed(epoch_seed(spec.seed, Purpose.TORCH, 0))
    optimizer = make_optimizer(parameter_groups(network, spec), spec)
    weights = loss_weights(network.head, spec, train)
    weights = None if weights is None else weights.to(device)
    loader = training_loader(train, augmentation(recipe), recipe)
    batches = chain.from_iterable(repeat(loader))
    found: list[float] = []
    for done, (rate, batch) in enumerate(zip(rates, batches, strict=False), start=1):
        if isinstance(batch, AssayError):
            raise batch
        set_rate(optimizer, rate)
        loss = _step(network, optimizer, batch, weights, spec.label_smoothing)
        progress("trying learning rates", done, len(rates))
        if not math.isfinite(loss):
            break
        found.append(loss)
        curve = smoothed(found)
        if len(curve) > _SKIPPED and curve[-1] > _DIVERGED * min(curve):
            break
    return found


def _step(
    network: Classifier,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    weights: torch.Tensor | None,
    smoothing: float,
) -> float:
    place = next(network.parameters()).device
    inputs, targets = (tensor.to(place) for tensor in batch)
    loss = cross_entropy(network(inputs).logits, targets, weights, smoothing) + network.head_penalty()
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()
    return float(loss.detach())
