"""Linear heads on embeddings, their predictions on held-out images, and the log loss that they are compared by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

Embeddings = npt.NDArray[np.float32]
Targets = npt.NDArray[np.int64]
LogProbabilities = npt.NDArray[np.float64]

_SMALLEST_PROBABILITY = 1e-12


class FoldIndices(NamedTuple):
    """Rows of one fold."""

    train: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LinearHead:
    """A linear classifier on embeddings."""

    weight: npt.NDArray[np.float32]
    """[C, D]."""
    bias: npt.NDArray[np.float32]
    """[C]; -inf for classes without training images."""

    def log_probabilities(self, embeddings: Embeddings) -> LogProbabilities:
        """Return log probabilities, [N, C], of embeddings [N, D]."""
        logits = embeddings.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias
        log_probabilities: LogProbabilities = log_softmax(logits, axis=1)
        return log_probabilities


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Heads of all folds with the same settings, and their predictions on held-out rows."""

    strength: float
    """Inverse regularization strength of logistic regression."""
    heads: tuple[LinearHead, ...]
    """One per fold."""
    log_probabilities: LogProbabilities
    """[M, C], of every held-out row by the head that was not trained on it, fold after fold."""
    rows: npt.NDArray[np.int64]
    """[M], the held-out rows."""
    losses: Mapping[float, float]
    """Mean log loss on held-out rows, after temperature scaling, by strength."""


def held_out_predictions(
    heads: Sequence[LinearHead], folds: Sequence[FoldIndices], embeddings: Embeddings
) -> LogProbabilities:
    """Return the log probabilities, [M, C], of the held-out rows by the head of their fold, fold after fold."""
    return np.concatenate(
        [head.log_probabilities(embeddings[fold.held_out]) for head, fold in zip(heads, folds, strict=True)]
    )


def mean_head(first: LinearHead, second: LinearHead, temperatures: tuple[float, float]) -> LinearHead:
    """Return the head whose logits are the mean of those of two heads, each divided by its temperature."""
    scales = [np.float32(0.5 / temperature) for temperature in temperatures]
    return LinearHead(
        scales[0] * first.weight + scales[1] * second.weight, scales[0] * first.bias + scales[1] * second.bias
    )


def best_temperature(
    log_probabilities: LogProbabilities, targets: Targets, bounds: tuple[float, float] = (0.1, 100.0)
) -> float:
    """Return the temperature within `bounds` with the lowest mean log loss."""
    found = minimize_scalar(
        lambda power: log_loss(log_softmax(log_probabilities / 10**power, axis=1), targets),
        bounds=(np.log10(bounds[0]), np.log10(bounds[1])),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(10**found.x)


def calibrated_log_loss(log_probabilities: LogProbabilities, targets: Targets) -> float:
    """Return the mean log loss at the best temperature from 1 (no change) to 10."""
    temperature = best_temperature(log_probabilities, targets, (1.0, 10.0))
    calibrated = log_loss(log_softmax(log_probabilities / temperature, axis=1), targets)
    return min(calibrated, log_loss(log_probabilities, targets))


def log_loss(log_probabilities: LogProbabilities, targets: Targets) -> float:
    """Return the mean negative log probability of the targets, at most 27.6 for an image (probability 1e-12)."""
    values = log_probabilities[np.arange(len(targets)), targets]
    return float(-np.maximum(values, np.log(_SMALLEST_PROBABILITY)).mean())
