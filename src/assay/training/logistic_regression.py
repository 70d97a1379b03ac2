"""Multinomial logistic regression on embeddings, solved to convergence; cross-validation chooses its regularization."""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController

from assay.core.cpu import cpu_count
from assay.training.linear_heads import (
    CrossFit,
    Embeddings,
    FoldIndices,
    LinearHead,
    Targets,
    calibrated_log_loss,
    held_out_predictions,
)

STRENGTHS = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
"""Inverse regularization strengths that `cross_fit` compares: scikit-learn's C, for standardized embeddings."""

VARIANCE_FLOOR = 0.1
"""Of every feature, as a share of the mean variance."""
_MAX_ITERATIONS = 200
_MAX_WORSE = 2
"""Strengths in a row that are worse than the best one before the search ends."""


def fit_logistic(
    embeddings: Embeddings, targets: Targets, classes: int, strength: float, *, variance_floor: float = VARIANCE_FLOOR
) -> LinearHead:
    """Fit a linear classifier to convergence (L-BFGS).

    Features are standardized for the fit; the returned weights apply to the embeddings as they are.

    Args:
        embeddings: float32 [N, D].
        targets: int64 [N], 0 to `classes` - 1.
        classes: number of classes; those without a row get probability 0.
        strength: inverse of the L2 regularization of the standardized problem.
        variance_floor: added to the variance of every feature before it is standardized, as a share of the mean
            variance. Without it, features that hardly vary in these rows get large weights: other images, or the same
            ones after fine-tuning has changed the features, then get extreme logits.

    Raises:
        ValueError: the rows have fewer than two classes.
    """
    with _fitting():
        return _fit(embeddings, targets, classes, strength, variance_floor)


def _fit(
    embeddings: Embeddings, targets: Targets, classes: int, strength: float, variance_floor: float = VARIANCE_FLOOR
) -> LinearHead:
    mean, variance = embeddings.mean(axis=0), embeddings.var(axis=0)
    std = np.sqrt(variance + variance_floor * variance.mean())
    scale = np.where(std > 0, std, 1).astype(np.float32)
    model = LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS, tol=1e-3)
    model.fit((embeddings - mean) / scale, targets)
    weight = np.zeros((classes, embeddings.shape[1]), np.float32)
    bias = np.full(classes, -np.inf, np.float32)
    # scikit-learn has one row for two classes: the logit of the second against 0.
    rows = np.concatenate([np.zeros_like(model.coef_), model.coef_]) if len(model.classes_) == 2 else model.coef_
    offsets = np.concatenate([[0.0], model.intercept_]) if len(model.classes_) == 2 else model.intercept_
    weight[model.classes_] = rows / scale
    bias[model.classes_] = offsets - (rows / scale) @ mean
    return LinearHead(weight, bias)


@contextmanager
def _fitting() -> Iterator[None]:
    """Limit products of matrices to one thread, and hide that a fit did not converge; both in the whole process.

    Warnings cannot be hidden by several threads at once, so the threads of `cross_fit` do not enter it themselves.
    """
    # The products are small: on a busy machine they take fifty times as long with several threads, which then wait for
    # each other.
    with _thread_pools().limit(limits=1, user_api="blas"), warnings.catch_warnings():
        # An embedding that separates the classes has no finite optimum without regularization; weak ones come near it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


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
    """Choose the regularization by the mean log loss on held-out rows, after temperature scaling.

    The search ends once two stronger values in a row were better. The heads of the folds are fitted side by side.

    Args:
        embeddings: float32 [N, D].
        targets: int64 [N].
        classes: number of classes.
        folds: no row is held out twice.
        strengths: candidates, from strong to weak regularization.
    """
    rows = np.concatenate([fold.held_out for fold in folds])
    losses: dict[float, float] = {}
    best: CrossFit | None = None
    worse = 0
    with _fitting(), ThreadPoolExecutor(cpu_count()) as threads:
        for strength in strengths:
            fits = [
                threads.submit(_fit, embeddings[fold.train], targets[fold.train], classes, strength) for fold in folds
            ]
            heads = tuple(fit.result() for fit in fits)
            found = held_out_predictions(heads, folds, embeddings)
            losses[strength] = calibrated_log_loss(found, targets[rows])
            if best is None or losses[strength] < losses[best.strength]:
                best, worse = CrossFit(strength, heads, found, rows, losses), 0
            else:
                worse += 1
            if worse == _MAX_WORSE:
                break
    if best is None:
        raise ValueError("there is no regularization strength to choose from")
    return best
