"""Plots of training runs."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from assay.training import EpochMetrics
from assay.training.curves import (
    centered_moving_average,
    exponential_moving_average,
    plot_learning_curves,
    plot_range_test,
)


def rows(count: int) -> list[EpochMetrics]:
    return [
        EpochMetrics(epoch, 1 / epoch, 1 - 0.5 / epoch, 1.1 / epoch, 1 - 0.6 / epoch, 1e-3, 1.0)
        for epoch in range(1, count + 1)
    ]


def colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return {colour for _, colour in image.convert("RGB").getcolors(maxcolors=2**24)}


@pytest.mark.parametrize(("epochs", "steps"), [(1, 3), (1, 200), (5, 20), (60, 2)])
def test_curves_show_training_and_validation(tmp_path: Path, epochs: int, steps: int):
    losses = [[1 / (1 + epoch + step / steps) for step in range(steps)] for epoch in range(epochs)]
    plot_learning_curves(tmp_path / "curves.png", rows(epochs), losses, best_epoch=epochs)
    assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0)} <= colours(tmp_path / "curves.png")


def test_range_test_marks_its_suggestion(tmp_path: Path):
    rates = np.geomspace(1e-7, 1, 50).tolist()
    plot_range_test(tmp_path / "lr.png", rates, [1.0] * 30 + [0.5] * 20, 1e-3)
    assert (0xD5, 0x5E, 0) in colours(tmp_path / "lr.png")


def test_pyplot_is_not_used(tmp_path: Path):
    plot_learning_curves(tmp_path / "curves.png", rows(1), [[0.5]], best_epoch=1)
    assert plt.get_fignums() == []


def test_smoothing_has_no_bias_at_the_start():
    assert exponential_moving_average([3.0, 3.0, 3.0]) == pytest.approx([3, 3, 3])
    assert exponential_moving_average([0.0, 1.0], 0.5) == pytest.approx([0, 2 / 3])
    assert exponential_moving_average([]) == []


def test_centered_mean_preserves_lines_and_positions():
    line = [2.0 * step for step in range(20)]
    assert centered_moving_average(line, 5) == pytest.approx(line)
    peak = centered_moving_average([0.0] * 10 + [9.0] + [0.0] * 10, 3)
    assert peak[9:12] == pytest.approx([3, 3, 3])
    assert peak[8] == pytest.approx(0)
    assert centered_moving_average([1.0, 5.0], 9) == [1.0, 5.0]
