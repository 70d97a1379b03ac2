"""Precision and recall of every class as a picture, with how far each number can be trusted."""

from collections.abc import Sequence
from math import floor

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from assay.evaluation.figure import BLUE, LINES, MUTED, VERMILION, new_figure, tidy
from assay.evaluation.intervals import Interval
from assay.evaluation.many_classes import worst_classes
from assay.evaluation.metrics import ClassMetrics, Metrics
from assay.tables import columns, number, percent, short_names

_NAME = 32


def class_figure(metrics: Metrics) -> Figure:
    """Draw recall and precision of each class with their Wilson intervals; F1 and support as numbers.

    Of more than thirty classes, those with the lowest F1 are drawn.
    """
    classes = worst_classes(metrics)
    names = short_names([one.name for one in classes], _NAME)
    figure = new_figure(6.6 + 0.07 * max(map(columns, names)), 1.7 + 0.42 * len(names))
    axes = figure.add_subplot()
    note = f"bars: {percent(metrics.level, 0)} interval (Wilson)"
    if len(classes) < len(metrics.classes):
        note += f"; the {len(classes)} of {len(metrics.classes)} classes with the lowest F1"
    tidy(axes, "Precision and recall", note)
    for row, one in enumerate(classes):
        _dot(axes, row - 0.14, one.recall, one.recall_interval, recall=True)
        _dot(axes, row + 0.14, one.precision, one.precision_interval, recall=False)
        for place, text in ((1.11, number(one.f1)), (1.22, str(one.support))):
            axes.text(
                place, row, text, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=9
            )
    for place, text in ((1.11, "F1"), (1.22, "photos")):
        axes.text(place, 1.01, text, transform=axes.transAxes, ha="right", fontsize=9, color=MUTED)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(_start(classes), 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], min_n_ticks=2))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(axis="x", color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.plot([], [], "o", color=BLUE, label="recall: of its photos, how many were recognised")
    axes.plot(
        [], [], "D", color=VERMILION, markersize=5, label="precision: of its predictions, how many are right"
    )
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8.5)
    return figure


def _start(classes: Sequence[ClassMetrics]) -> float:
    """Where the axis begins: the last multiple of 10 % below everything drawn, so that dots do not crowd."""
    lows = [pair.low for one in classes for pair in (one.recall_interval, one.precision_interval) if pair]
    return max(0.0, floor(10 * min(lows, default=0.0)) / 10)


def _dot(axes: Axes, row: float, value: float | None, interval: Interval | None, *, recall: bool) -> None:
    colour, marker, size = (BLUE, "o", 6) if recall else (VERMILION, "D", 5)
    if interval is not None:
        axes.plot(interval, [row, row], color=colour, linewidth=2, alpha=0.45, solid_capstyle="butt")
    if value is not None and interval is not None:
        axes.plot([value], [row], marker, color=colour, markersize=size, clip_on=False)
