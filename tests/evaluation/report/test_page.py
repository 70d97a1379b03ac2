"""Tables of the report page."""

from collections.abc import Callable

import numpy as np

from assay.evaluation import ConfusionMatrix, Predictions
from assay.evaluation.report.page import matrix_table

Make = Callable[..., Predictions]


def luminance(colour: str) -> float:
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_cell_colors_have_enough_contrast():
    # WCAG 2.2, contrast of text: 4.5 to 1.
    for share in range(1, 101):
        counts = np.array([[share, 100 - share], [100 - share, share]], dtype=np.int64)
        for row in matrix_table(ConfusionMatrix(("a", "b"), counts)).rows:
            for cell in row.cells:
                light, dark = sorted((luminance(cell.background), luminance(cell.color)), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (share, cell)


def test_all_of_few_classes_are_shown(make: Make):
    shown = matrix_table(ConfusionMatrix.from_predictions(make([0, 0, 1, 2], [0, 1, 1, 2])))
    assert shown.complete
    assert shown.columns == ("cat", "dog", "ship")
    assert [[cell.photos for cell in row.cells] for row in shown.rows] == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert [cell.share for cell in shown.rows[0].cells] == ["50.0 %", "50.0 %", ""]
    assert [cell.correct for cell in shown.rows[1].cells] == [False, True, False]


def test_worst_of_many_classes_are_shown(make: Make):
    names = [f"class {k}" for k in range(50)]
    actual = list(range(50)) * 2
    predicted = [k if k not in {7, 20} else 33 for k in actual]
    shown = matrix_table(ConfusionMatrix.from_predictions(make(actual, predicted, classes=names)), 3)
    assert not shown.complete
    assert shown.columns == ("class 7", "class 20", "class 33")
    assert [row.hidden_columns for row in shown.rows] == [0, 0, 0]
    assert [[cell.photos for cell in row.cells] for row in shown.rows] == [[0, 0, 2], [0, 0, 2], [0, 0, 2]]
    fewer = matrix_table(ConfusionMatrix.from_predictions(make(actual, predicted, classes=names)), 1)
    assert fewer.columns == ("class 33",)
