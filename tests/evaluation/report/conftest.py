"""Predictions with real files behind them, for the tests of the report."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.evaluation import Predictions

Make = Callable[..., Predictions]


@pytest.fixture
def photographed(make: Make, tmp_path: Path) -> Callable[..., Predictions]:
    """A function that makes predictions on photos written to disk, one in five of them wrong."""

    def build(count: int = 60, classes: tuple[str, ...] = ("cat", "dog", "ship"), **others: object) -> Predictions:
        rng = np.random.default_rng(0)
        folder = tmp_path / "photos"
        folder.mkdir(exist_ok=True)
        paths = []
        for place in range(count):
            paths.append(str(folder / f"{place}.png"))
            noise = rng.normal(40 + 3 * place % 200, 20, (30, 40, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noise).save(paths[-1])
        actual = [place % len(classes) for place in range(count)]
        predicted = [(k + (place % 5 == 0)) % len(classes) for place, k in enumerate(actual)]
        rows = rng.normal(size=(count, 8)).astype(np.float32)
        return make(actual, predicted, classes=classes, paths=tuple(paths), embedding=rows, **others)

    return build
