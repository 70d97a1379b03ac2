"""Figures of evaluations."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.evaluation import (
    Predictions,
    compute_metrics,
    measure_calibration,
    precision_coverage_figure,
    precision_recall_figure,
    reliability_figure,
)
from assay.evaluation.confusion_figure import confusion_matrix_figure
from assay.evaluation.confusion_matrix import ConfusionMatrix
from assay.evaluation.figure_style import save_figure, to_png, to_svg, truncate_text
from assay.evaluation.figures import class_metrics_figure, history_figure, learning_curve_figure
from assay.evaluation.learning_curve import CurvePoint, LearningCurve

NAMES = [f"a rather long name of class {k} of many" for k in range(30)]

Make = Callable[..., Predictions]


@pytest.mark.parametrize("labels", [[], [0], [0, 1, 1]])
def test_figures_of_degenerate_predictions(make: Make, labels: list[int]):
    predictions = make(labels, [0] * len(labels))
    for figure in (
        confusion_matrix_figure(ConfusionMatrix.from_predictions(predictions)),
        class_metrics_figure(compute_metrics(predictions)),
    ):
        assert to_png(figure).startswith(b"\x89PNG")


def test_arbitrary_names_can_be_drawn(make: Make):
    names = ["$\\bad{", "a_b^c", "電池", "caf\udce9", "tab\tnewline\n", "", "🙂", "x" * 500]
    predictions = make(list(range(8)), classes=names)
    for figure in (
        confusion_matrix_figure(ConfusionMatrix.from_predictions(predictions)),
        class_metrics_figure(compute_metrics(predictions)),
    ):
        assert to_png(figure).startswith(b"\x89PNG")


def test_file_is_an_image_with_a_white_margin(make: Make, tmp_path: Path):
    save_figure(class_metrics_figure(compute_metrics(make([0, 1, 2] * 5, classes=NAMES[:3]))), tmp_path / "c.png")
    pixels = np.asarray(Image.open(tmp_path / "c.png").convert("RGB"))
    edges = (pixels[:8], pixels[-8:], pixels[:, :8], pixels[:, -8:])
    assert all((edge == 255).all() for edge in edges)
    assert (pixels != 255).any()
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


def test_same_figure_gives_the_same_bytes(make: Make):
    confusion = ConfusionMatrix.from_predictions(make([0, 1, 2]))
    assert to_png(confusion_matrix_figure(confusion)) == to_png(confusion_matrix_figure(confusion))
    assert Image.open(io.BytesIO(to_png(confusion_matrix_figure(confusion)))).format == "PNG"


def test_neither_pyplot_nor_torch_is_imported():
    code = "import sys, assay.evaluation; print({'matplotlib.pyplot', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_text_is_truncated_to_its_width():
    assert truncate_text("short", 200, 8) == "short"
    cut = truncate_text("W" * 100, 100, 8)
    assert cut.startswith("W")
    assert cut.endswith("W")
    assert 5 < len(cut) < 20
    assert len(truncate_text("i" * 100, 100, 8)) > 2 * len(cut)
    assert truncate_text("abc", 0.1, 8) == "…"


def test_reliability_shows_every_bin_before_and_after(make: Make):
    measured = measure_calibration(make([0, 1, 2] * 30, skill=1.0))
    axes = reliability_figure(measured, measured).axes[0]
    before, after = (line for line in axes.lines if str(line.get_label()).endswith(")"))
    assert len(before.get_xdata()) == len(after.get_xdata()) == len(measured.bins)
    assert str(before.get_label()).startswith("before calibration (ECE 0.")
    assert axes.get_xlim() == axes.get_ylim()


def test_threshold_figure_shows_the_curve(make: Make):
    predictions = make([0, 1] * 30, classes=("ok", "$defect"), skill=1.0)
    axes = precision_recall_figure(predictions, "$defect").axes[0]
    assert [line.get_label() for line in axes.lines] == ["precision", "recall"]
    assert len(precision_coverage_figure(predictions).axes[0].lines[0].get_xdata()) == 60


@pytest.mark.parametrize("labels", [[], [0], [1, 1, 1]])
def test_curves_of_degenerate_predictions(make: Make, labels: list[int]):
    predictions = make(labels, probabilities=np.tile([0.0, 1.0, 0.0], (len(labels), 1)))
    figures = (
        reliability_figure(measure_calibration(predictions)),
        precision_coverage_figure(predictions),
        precision_recall_figure(predictions, "dog"),
    )
    for figure in figures:
        assert to_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("epochs", [1, 2, 60])
def test_history_figure_of_any_number_of_epochs(epochs: int):
    numbers = list(range(1, epochs + 1))
    figure = history_figure(numbers, [1 / k for k in numbers], [2 / k for k in numbers], name="Loss", best=epochs)
    assert to_png(figure).startswith(b"\x89PNG")
    labels = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert labels == {"training", "validation", f"kept (epoch {epochs})"}


@pytest.mark.parametrize("estimated", [(), (200, 400), (150, 300, 600)])
def test_learning_curve_figure_shows_measured_and_estimated_points(estimated: tuple[int, ...]):
    measured = tuple(CurvePoint(images, images / 200, 0.1, 0.9) for images in (50, 100))
    curve = LearningCurve("accuracy", measured, tuple(CurvePoint(images, 0.8, 0.7, 0.9) for images in estimated))
    figure = learning_curve_figure(curve)
    assert to_png(figure).startswith(b"\x89PNG")
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks == [str(images) for images in (50, 100, *estimated)]
    labels = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert labels == {"measured (cross-validated)", *(["estimated"] if estimated else [])}


def test_svg_contains_text_and_is_reproducible():
    first, second = (to_svg(history_figure([1, 2], [0.5, 0.9], [0.4, 0.8], name="A", share=True)) for _ in "ab")
    assert first == second
    assert "validation" in first
    assert "90 %" in first
    assert "system-ui" in first
