"""Multinomial logistic regression on embeddings, solved to convergence; cross-validation chooses its regularization."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController

Embeddings = npt.NDArray[np.float32]
Targets = npt.NDArray[np.int64]

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse regularization strengths that `cross_fit` compares: scikit-learn's C, for standardized embeddings."""

_MAX_ITERATIONS = 200
_SMALLEST_PROBABILITY = 1e-12


class FoldIndices(NamedTuple):
    """Rows of one fold."""

    train: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LogisticHead:
    """A linear classifier on embeddings."""

    weight: npt.NDArray[np.float32]
    """[C, D]."""
    bias: npt.NDArray[np.float32]
    """[C]; -inf for classes without training images."""

    def log_probabilities(self, embeddings: Embeddings) -> npt.NDArray[np.float64]:
        """Return log probabilities, [N, C], of embeddings [N, D]."""
        logits = embeddings.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias
        log_probabilities: npt.NDArray[np.float64] = log_softmax(logits, axis=1)
        return log_probabilities


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Out-of-fold predictions at the best regularization."""

    strength: float
    """The chosen inverse regularization strength."""
    log_probabilities: npt.NDArray[np.float64]
    """[N, C], of every image by the head that was not trained on it."""
    losses: MappingProxyType[float, float]
    """Mean out-of-fold log loss by strength."""


def fit_logistic(embeddings: Embeddings, targets: Targets, classes: int, strength: float) -> LogisticHead:
    """Fit a linear classifier to convergence (L-BFGS).

    Features are standardized for the fit; the returned weights apply to the embeddings as they are.

    Args:
        embeddings: float32 [N, D].
        targets: int64 [N], 0 to `classes` - 1.
        classes: number of classes; those without a row get probability 0.
        strength: inverse of the L2 regularization of the standardized problem.

    Raises:
        ValueError: the rows have fewer than two classes.
    """
    mean, std = embeddings.mean(axis=0), embeddings.std(axis=0)
    scale = np.where(std > 0, std, 1).astype(np.float32)
    model = LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS, tol=1e-3)
    # The products are small: on a busy machine they take fifty times as long with several threads, which then wait for
    # each other.
    with _thread_pools().limit(limits=1, user_api="blas"), warnings.catch_warnings():
        # An embedding that separates the classes has no finite optimum without regularization; weak ones come near it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((embeddings - mean) / scale, targets)
    weight = np.zeros((classes, embeddings.shape[1]), np.float32)
    bias = np.full(classes, -np.inf, np.float32)
    # scikit-learn has one row for two classes: the logit of the second against 0.
    rows = np.concatenate([np.zeros_like(model.coef_), model.coef_]) if len(model.classes_) == 2 else model.coef_
    offsets = np.concatenate([[0.0], model.intercept_]) if len(model.classes_) == 2 else model.intercept_
    weight[model.classes_] = rows / scale
    bias[model.classes_] = offsets - (rows / scale) @ mean
    return LogisticHead(weight, bias)


@cache
def _thread_pools() -> ThreadpoolController:
    """Return the libraries' thread pools; finding them takes milliseconds."""
    return ThreadpoolController()


def cross_fit(
    embeddings: Embeddings,
    targets: Targets,
    classes: int,
    folds: Sequence[FoldIndices],
    strengths: Sequence[float] = STRENGTHS,
) -> CrossFit:
    """Choose the regularization by the mean out-of-fold log loss.

    Args:
        embeddings: float32 [N, D].
        targets: int64 [N].
        classes: number of classes.
        folds: every row is held out once.
        strengths: candidates, from strong to weak regularization.
    """
    found = {}
    for strength in strengths:
        log_probabilities = np.empty((len(targets), classes))
        for train, held_out in folds:
            head = fit_logistic(embeddings[train], targets[train], classes, strength)
            log_probabilities[held_out] = head.log_probabilities(embeddings[held_out])
        found[strength] = log_probabilities
    losses = {strength: log_loss(values, targets) for strength, values in found.items()}
    best = min(losses, key=lambda strength: losses[strength])
    return CrossFit(best, found[best], MappingProxyType(losses))


def log_loss(log_probabilities: npt.NDArray[np.float64], targets: Targets) -> float:
    """Return the mean negative log probability of the targets, at most 27.6 for an image (probability 1e-12)."""
    values = log_probabilities[np.arange(len(targets)), targets]
    return float(-np.maximum(values, np.log(_SMALLEST_PROBABILITY)).mean())
