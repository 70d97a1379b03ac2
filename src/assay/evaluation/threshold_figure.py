"""Precision against threshold as a picture, to choose where the classifier should start to say nothing."""

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from assay.evaluation.figure import BLUE, GREEN, LINES, VERMILION, new_figure, tidy
from assay.evaluation.predictions import Floats, Predictions
from assay.evaluation.threshold import positive_curve, threshold_curve
from assay.tables import shorten


def threshold_figure(predictions: Predictions) -> Figure:
    """Draw precision and coverage over the least confidence that is answered."""
    curve = threshold_curve(predictions)
    return _figure(
        "Answering only when sure",
        "precision: of the answers, how many are right\ncoverage: of all photos, how many get an answer",
        "least confidence that is answered",
        curve.threshold,
        {"precision": (curve.precision, BLUE), "coverage": (curve.coverage, GREEN)},
    )


def positive_figure(predictions: Predictions, positive: str) -> Figure:
    """Draw precision and recall of one class over the probability from which on it is called."""
    curve = positive_curve(predictions, positive)
    name = shorten(positive, 40)
    return _figure(
        f"Calling “{name}”",
        "precision: of the photos called so, how many are\nrecall: of those that are, how many are called so",
        f"least probability that is called “{name}”",
        curve.threshold,
        {"precision": (curve.precision, BLUE), "recall": (curve.recall, VERMILION)},
    )


def _figure(
    title: str, note: str, label: str, threshold: Floats, lines: dict[str, tuple[Floats, str]]
) -> Figure:
    figure = new_figure(6.4, 4.4)
    axes = figure.add_subplot()
    tidy(axes, title, note)
    for name, (values, colour) in lines.items():
        # A value holds from the score before it up to its own.
        axes.step(threshold, values, where="pre", color=colour, linewidth=1.8, label=name)
    axes.set_xlabel(label)
    axes.set_ylim(0, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return figure
