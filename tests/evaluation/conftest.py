"""Synthetic predictions."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from assay.evaluation import Predictions

Make = Callable[..., Predictions]


@pytest.fixture(scope="session")
def make() -> Make:
    """A function that makes predictions from labels and predicted classes, or random ones of some skill."""

    def build(
        actual: Sequence[int],
        predicted: Sequence[int] | None = None,
        /,
        *,
        classes: Sequence[str] = ("cat", "dog", "ship"),
        skill: float = 2.0,
        seed: int = 0,
        **others: object,
    ) -> Predictions:
        rng = np.random.default_rng(seed)
        rows = np.arange(len(actual))
        logits = rng.normal(size=(rows.size, len(classes)))
        if predicted is None:
            logits[rows, list(actual)] += skill
        else:
            logits[rows, list(predicted)] = 4 + rng.random(rows.size)
        odds = np.exp(logits)
        values = {
            "classes": tuple(classes),
            "ids": tuple(f"{classes[k]}/{row}.jpg" for row, k in enumerate(actual)),
            "paths": tuple(f"/photos/{classes[k]}/{row}.jpg" for row, k in enumerate(actual)),
            "actual": np.asarray(actual, dtype=np.int64),
            "probabilities": odds / odds.sum(axis=1, keepdims=True),
        }
        return Predictions(**(values | others))

    return build
