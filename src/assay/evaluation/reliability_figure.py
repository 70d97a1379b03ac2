"""The reliability diagram: how often the classifier is right, drawn over how sure it says it is."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from assay.evaluation.calibration import Calibration
from assay.evaluation.figure import BLUE, LINES, MUTED, VERMILION, new_figure, tidy
from assay.tables import number


def reliability_figure(measured: Calibration, before: Calibration | None = None) -> Figure:
    """Draw the accuracy of each bin over its mean confidence, with Wilson intervals.

    Points on the diagonal are honest, below it the classifier is too sure, above it not sure enough.

    Args:
        measured: the calibration to show.
        before: the same photos before a temperature was applied, for comparison.
    """
    figure = new_figure(5.6, 5.6)
    axes = figure.add_subplot()
    tidy(
        axes,
        "Reliability",
        "on the diagonal: as often right as it says\n"
        "below: too sure · above: not sure enough · bars: 95 % interval",
    )
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    if before is not None:
        _draw(axes, before, VERMILION, "D", "before calibration")
    _draw(axes, measured, BLUE, "o", "as measured" if before is None else "after calibration")
    shown = [*measured.bins, *(before.bins if before else ())]
    start = min((min(one.confidence, one.interval.low) for one in shown), default=0.0)
    start = max(0.0, start - 0.03)
    axes.set(xlim=(start, 1.01), ylim=(start, 1.01), aspect="equal")
    axes.set_xlabel("confidence (mean of a bin)")
    axes.set_ylabel("share that is right")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return figure


def _draw(axes: Axes, measured: Calibration, colour: str, marker: str, name: str) -> None:
    places = [one.confidence for one in measured.bins]
    axes.vlines(
        places,
        [one.interval.low for one in measured.bins],
        [one.interval.high for one in measured.bins],
        color=colour,
        alpha=0.35,
        linewidth=2,
    )
    axes.plot(
        places,
        [one.accuracy for one in measured.bins],
        marker=marker,
        color=colour,
        linewidth=1.2,
        markersize=5.5,
        label=f"{name} (ECE {number(measured.ece)})",
        clip_on=False,
    )
