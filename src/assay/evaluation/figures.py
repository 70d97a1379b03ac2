"""Charts of an evaluation: class metrics, reliability, precision against threshold, learning curve, history."""

from collections.abc import Sequence
from math import floor

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from assay.core.text_layout import display_width, format_number, format_percent, shorten, shorten_names
from assay.evaluation.calibration import Calibration
from assay.evaluation.figure_style import BLUE, GREEN, LINES, MUTED, VERMILION, new_figure, style_axes
from assay.evaluation.intervals import Interval
from assay.evaluation.learning_curve import CurvePoint, LearningCurve
from assay.evaluation.metrics import ClassMetrics, Metrics, worst_classes
from assay.evaluation.predictions import FloatArray, Predictions
from assay.evaluation.selective_classification import precision_coverage_curve, precision_recall_curve

_NAME_WIDTH = 32
_MAX_MARKERS = 40


def class_metrics_figure(metrics: Metrics) -> Figure:
    """Draw recall and precision of each class with their Wilson intervals; F1 and support as numbers.

    Of more than thirty classes, those with the lowest F1 are drawn.
    """
    classes = worst_classes(metrics)
    names = shorten_names([entry.name for entry in classes], _NAME_WIDTH)
    figure = new_figure(6.6 + 0.07 * max(map(display_width, names)), 1.7 + 0.42 * len(names))
    axes = figure.add_subplot()
    note = f"bars: {format_percent(metrics.level, 0)} interval (Wilson)"
    if len(classes) < len(metrics.classes):
        note += f"; the {len(classes)} of {len(metrics.classes)} classes with the lowest F1"
    style_axes(axes, "Precision and recall", note)
    for row, entry in enumerate(classes):
        _plot_interval(axes, row - 0.14, entry.recall, entry.recall_interval, recall=True)
        _plot_interval(axes, row + 0.14, entry.precision, entry.precision_interval, recall=False)
        for place, text in ((1.11, format_number(entry.f1)), (1.22, str(entry.support))):
            axes.text(place, row, text, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=9)
    for place, text in ((1.11, "F1"), (1.22, "photos")):
        axes.text(place, 1.01, text, transform=axes.transAxes, ha="right", fontsize=9, color=MUTED)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(_axis_start(classes), 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], min_n_ticks=2))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(axis="x", color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.plot([], [], "o", color=BLUE, label="recall: share of its photos recognized")
    axes.plot([], [], "D", color=VERMILION, markersize=5, label="precision: share of its predictions that are correct")
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8.5)
    return figure


def _axis_start(classes: Sequence[ClassMetrics]) -> float:
    """Where the axis begins: the last multiple of 10 % below everything drawn, so that dots do not crowd."""
    lows = [pair.low for entry in classes for pair in (entry.recall_interval, entry.precision_interval) if pair]
    return max(0.0, floor(10 * min(lows, default=0.0)) / 10)


def _plot_interval(axes: Axes, row: float, value: float | None, interval: Interval | None, *, recall: bool) -> None:
    color, marker, size = (BLUE, "o", 6) if recall else (VERMILION, "D", 5)
    if interval is not None:
        axes.plot(interval, [row, row], color=color, linewidth=2, alpha=0.45, solid_capstyle="butt")
    if value is not None and interval is not None:
        axes.plot([value], [row], marker, color=color, markersize=size, clip_on=False)


def reliability_figure(measured: Calibration, before: Calibration | None = None) -> Figure:
    """Draw the accuracy of each bin over its mean confidence, with Wilson intervals.

    Below the diagonal the classifier is overconfident, above it underconfident.

    Args:
        measured: the calibration to show.
        before: of the same images before temperature scaling, for comparison.
    """
    figure = new_figure(5.6, 5.6)
    axes = figure.add_subplot()
    style_axes(
        axes,
        "Reliability",
        "on the diagonal: well calibrated\nbelow: overconfident · above: underconfident · bars: 95 % interval",
    )
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    if before is not None:
        _plot_calibration(axes, before, VERMILION, "D", "before calibration")
    _plot_calibration(axes, measured, BLUE, "o", "as measured" if before is None else "after calibration")
    shown = [*measured.bins, *(before.bins if before else ())]
    start = min((min(part.confidence, part.interval.low) for part in shown), default=0.0)
    start = max(0.0, start - 0.03)
    axes.set(xlim=(start, 1.01), ylim=(start, 1.01), aspect="equal")
    axes.set_xlabel("confidence (mean of a bin)")
    axes.set_ylabel("accuracy")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return figure


def _plot_calibration(axes: Axes, measured: Calibration, color: str, marker: str, name: str) -> None:
    places = [part.confidence for part in measured.bins]
    axes.vlines(
        places,
        [part.interval.low for part in measured.bins],
        [part.interval.high for part in measured.bins],
        color=color,
        alpha=0.35,
        linewidth=2,
    )
    axes.plot(
        places,
        [part.accuracy for part in measured.bins],
        marker=marker,
        color=color,
        linewidth=1.2,
        markersize=5.5,
        label=f"{name} (ECE {format_number(measured.ece)})",
        clip_on=False,
    )


def precision_coverage_figure(predictions: Predictions) -> Figure:
    """Draw precision and coverage over the confidence threshold."""
    curve = precision_coverage_curve(predictions)
    return _threshold_figure(
        "Precision and coverage",
        "precision: share of the answers that are correct\ncoverage: share of the photos that get an answer",
        "confidence threshold",
        curve.threshold,
        {"precision": (curve.precision, BLUE), "coverage": (curve.coverage, GREEN)},
    )


def precision_recall_figure(predictions: Predictions, positive: str) -> Figure:
    """Draw precision and recall of one class over its probability threshold."""
    curve = precision_recall_curve(predictions, positive)
    name = shorten(positive, 40)
    return _threshold_figure(
        f"Precision and recall of “{name}”",
        "precision: share of the predictions that are correct\nrecall: share of the photos of the class that are found",
        f"probability threshold for “{name}”",
        curve.threshold,
        {"precision": (curve.precision, BLUE), "recall": (curve.recall, VERMILION)},
    )


def _threshold_figure(
    title: str, note: str, label: str, threshold: FloatArray, lines: dict[str, tuple[FloatArray, str]]
) -> Figure:
    figure = new_figure(6.4, 4.4)
    axes = figure.add_subplot()
    style_axes(axes, title, note)
    for name, (values, color) in lines.items():
        # A value holds from the score before it up to its own.
        axes.step(threshold, values, where="pre", color=color, linewidth=1.8, label=name)
    axes.set_xlabel(label)
    axes.set_ylim(0, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return figure


def history_figure(
    epochs: Sequence[int],
    training: Sequence[float],
    validation: Sequence[float],
    *,
    name: str,
    share: bool = False,
    best: int = 0,
) -> Figure:
    """Draw a metric of training and validation over the epochs.

    Args:
        epochs: counted from 1.
        training: the metric's value on the training images after each epoch.
        validation: the same on the validation images.
        name: of the metric.
        share: whether values are shown in percent.
        best: the epoch whose weights were kept; 0: unknown.
    """
    figure = new_figure(4.8, 3.4)
    axes = figure.add_subplot()
    style_axes(axes, name)
    marker = "o" if len(epochs) <= _MAX_MARKERS else ""
    for values, color, label in ((training, BLUE, "training"), (validation, VERMILION, "validation")):
        axes.plot(epochs, values, color=color, marker=marker, markersize=3.5, linewidth=1.6, label=label)
    if best:
        axes.axvline(best, color=MUTED, linestyle=":", linewidth=1.2, label=f"kept (epoch {best})")
    _format_axes(axes, name, share=share)
    return figure


def learning_curve_figure(curve: LearningCurve) -> Figure:
    """Draw the score over the number of training images, measured and estimated, with 95 % intervals."""
    figure = new_figure(5.6, 3.9)
    axes = figure.add_subplot()
    style_axes(axes, "Learning curve", "bars: 95 % interval")
    measured, estimated = curve.points, curve.extrapolated
    parts = [(measured, BLUE, "-", "o", "measured (cross-validated)")]
    if estimated:
        axes.plot(*_places((measured[-1], estimated[0])), color=VERMILION, linewidth=1.2, linestyle=":")
        parts.append((estimated, VERMILION, ":", "D", "estimated"))
    for points, color, line, marker, label in parts:
        images, scores = _places(points)
        axes.vlines(
            images,
            [point.low for point in points],
            [point.high for point in points],
            color=color,
            alpha=0.4,
            linewidth=2,
        )
        axes.plot(images, scores, line, marker=marker, color=color, markersize=5, linewidth=1.2, label=label)
    axes.set_xscale("log")
    ticks = [point.images for point in (*measured, *estimated)]
    axes.set_xticks(ticks, [f"{images:,}" for images in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("training photos (logarithmic)")
    axes.set_ylabel(curve.metric)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    axes.grid(axis="y", color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return figure


def _places(points: Sequence[CurvePoint]) -> tuple[list[int], list[float]]:
    return [point.images for point in points], [point.score for point in points]


def _format_axes(axes: Axes, name: str, *, share: bool) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(name.lower())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    axes.grid(color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
