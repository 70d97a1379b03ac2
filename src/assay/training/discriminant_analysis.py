"""Linear discriminant analysis on embeddings, and its mean with logistic regression.

The two heads make different mistakes. Logistic regression fits the boundary between the classes; discriminant analysis
fits the mean of every class and one covariance, for which it needs fewer images.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.linalg import solve

from assay.training.linear_heads import (
    CrossFit,
    Embeddings,
    FoldIndices,
    LinearHead,
    Targets,
    best_temperature,
    held_out_predictions,
    mean_head,
)

SHRINKAGE = 0.5
"""Of the covariance, towards its diagonal."""
_VARIANCE_FLOOR = 1e-3
"""Added to every variance, as a share of the mean variance: some features hardly vary within the classes."""

_ROWS = 4096
"""That are held in 64 bits at a time."""
_NO_VARIANCE = 1e-6
"""Share of the variance of all images below which the variance within the classes is unknown."""


def fit_discriminant(
    embeddings: Embeddings, targets: Targets, classes: int, shrinkage: float = SHRINKAGE
) -> LinearHead:
    """Fit a linear discriminant analysis; the prior probabilities are the class frequencies.

    Args:
        embeddings: float32 [N, D].
        targets: int64 [N], 0 to `classes` - 1.
        classes: number of classes; those without a row get probability 0.
        shrinkage: 0-1, share of the diagonal matrix of variances in the covariance.

    Source: T. Hastie, R. Tibshirani and J. Friedman, "The Elements of Statistical Learning" (2009), section 4.3.
    """
    count, features = embeddings.shape
    center = embeddings.mean(axis=0, dtype=np.float64)
    counts = np.bincount(targets, minlength=classes)
    means, covariance, spread = np.zeros((classes, features)), np.zeros((features, features)), 0.0
    # Parts of the rows in 64 bits: all of them would take several times as much memory as the embeddings.
    parts = [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]
    for part in parts:
        np.add.at(means, targets[part], embeddings[part] - center)
    means /= np.maximum(counts, 1)[:, None]
    for part in parts:
        rows = embeddings[part] - center
        spread += float((rows**2).sum()) / embeddings.size
        rows -= means[targets[part]]
        covariance += rows.T @ rows / count
    variances = np.diag(covariance).copy()
    covariance *= 1 - shrinkage
    floor = _VARIANCE_FLOOR * variances.mean()
    if variances.mean() <= _NO_VARIANCE * spread:
        floor = spread  # one image of each class, or copies of it: the nearest class
    floor += np.finfo(np.float32).tiny
    np.fill_diagonal(covariance, variances + floor)
    weight = solve(covariance, means.T, assume_a="pos").T
    with np.errstate(divide="ignore"):
        bias = np.log(counts / count) - 0.5 * (weight * means).sum(axis=1) - weight @ center
    return LinearHead(weight.astype(np.float32), bias.astype(np.float32))


def add_discriminant(
    fits: Sequence[CrossFit],
    repeats: Sequence[Sequence[FoldIndices]],
    embeddings: Embeddings,
    targets: Targets,
    classes: int,
) -> tuple[tuple[CrossFit, ...], tuple[float, float]]:
    """Average the logistic heads of cross-validations with discriminant analyses of the same folds.

    Args:
        fits: logistic heads, one entry per repetition.
        repeats: the folds of every repetition.
        embeddings: float32 [N, D].
        targets: int64 [N].
        classes: number of classes.

    Returns:
        The averaged heads, and the temperatures of logistic regression and of discriminant analysis, by which the
        logits are divided before.
    """
    others = [
        tuple(fit_discriminant(embeddings[fold.train], targets[fold.train], classes) for fold in folds)
        for folds in repeats
    ]
    first = fits[0]
    alone = held_out_predictions(others[0], repeats[0], embeddings)
    temperatures = (
        best_temperature(first.log_probabilities, targets[first.rows]),
        best_temperature(alone, targets[first.rows]),
    )
    averaged = []
    for fit, folds, discriminants in zip(fits, repeats, others, strict=True):
        heads = tuple(
            mean_head(logistic, discriminant, temperatures)
            for logistic, discriminant in zip(fit.heads, discriminants, strict=True)
        )
        averaged.append(replace(fit, heads=heads, log_probabilities=held_out_predictions(heads, folds, embeddings)))
    return tuple(averaged), temperatures
