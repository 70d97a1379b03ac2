"""The figure of the confusion matrix."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from assay.evaluation import Predictions
from assay.evaluation.confusion_figure import confusion_matrix_figure
from assay.evaluation.confusion_matrix import ConfusionMatrix

NAMES = [f"a rather long name of class {k} of many" for k in range(30)]

Make = Callable[..., Predictions]


def boxes(texts: list[Text], figure: Figure):
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    return [text.get_window_extent(renderer) for text in texts if text.get_text()]


@pytest.mark.parametrize("classes", [2, 3, 7, 12, 13, 30])
def test_labels_do_not_overlap(make: Make, classes: int):
    confusion = ConfusionMatrix.from_predictions(make(list(range(classes)) * 4, classes=NAMES[:classes]))
    figure = confusion_matrix_figure(confusion)
    axes = figure.axes[0]
    rows = boxes(axes.get_yticklabels(), figure)
    assert len(rows) == classes
    assert not any(item.overlaps(other) for item, other in itertools.combinations(rows, 2))
    # Slanted names: the distance between two baselines must exceed the height of the letters.
    ends = [text.get_window_extent().x1 for text in axes.get_xticklabels()]
    angle = np.deg2rad(axes.get_xticklabels()[0].get_rotation())
    height = axes.get_xticklabels()[0].get_fontsize() * figure.dpi / 72
    assert np.diff(ends).min() * np.sin(angle) > height


def test_short_names_are_horizontal_and_apart(make: Make):
    figure = confusion_matrix_figure(ConfusionMatrix.from_predictions(make([0, 1, 2])))
    labels = figure.axes[0].get_xticklabels()
    assert {label.get_rotation() for label in labels} == {0}
    columns = boxes(labels, figure)
    assert not any(item.overlaps(other) for item, other in itertools.combinations(columns, 2))


def test_cells_show_count_and_share(make: Make):
    predictions = make([0, 0, 0, 1], [0, 0, 1, 1], classes=("a", "b"))
    texts = {
        text.get_text() for text in confusion_matrix_figure(ConfusionMatrix.from_predictions(predictions)).axes[0].texts
    }
    assert {"2", "66.7 %", "1", "33.3 %", "0", "100.0 %"} <= texts
    shares = confusion_matrix_figure(ConfusionMatrix.from_predictions(predictions), "shares").axes[0]
    assert {"67", "33", "0", "100"} <= {text.get_text() for text in shares.texts}


def test_class_without_images_is_a_dash(make: Make):
    confusion = ConfusionMatrix.from_predictions(make([0, 1], [0, 1]))
    texts = [text.get_text() for text in confusion_matrix_figure(confusion, "shares").axes[0].texts]
    assert texts.count("–") == 3
