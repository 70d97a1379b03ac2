"""Draw a confusion matrix with matplotlib."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from assay.core.text_layout import display_width, format_percent, shorten_names
from assay.evaluation.confusion_matrix import ConfusionMatrix, format_whole_percent
from assay.evaluation.figure_style import INK, MUTED, new_figure, style_axes
from assay.evaluation.metrics import most_confused_classes
from assay.evaluation.predictions import FloatArray, IntArray

_FIGURE_NAME_WIDTH = 26
_MAX_TWO_LINE_CLASSES = 12  # with more classes a cell has room for one number only
_EMPTY_COLOR = (0.965, 0.965, 0.97)
CellValues = Literal["both", "counts", "shares"]


def confusion_matrix_figure(confusion: ConfusionMatrix, values: CellValues = "both") -> Figure:
    """Draw the matrix; rows actual, columns predicted.

    The diagonal is blue, mistakes are orange, darker for a larger share of the row, so that rare classes count
    like frequent ones. Of more than thirty classes, those with the most mistakes are drawn; shares stay those of
    the whole row.

    Args:
        confusion: the counts.
        values: content of the cells: the number of images, the share of the row in percent, or both. With more
            than twelve classes there is room for one, and `both` gives the counts.
    """
    chosen = most_confused_classes(confusion.counts)
    classes, total = len(chosen), len(confusion.classes)
    counts = confusion.counts[np.ix_(chosen, chosen)]
    shares = confusion.normalized[np.ix_(chosen, chosen)]
    names = shorten_names([confusion.classes[k] for k in chosen], _FIGURE_NAME_WIDTH)
    longest = max(map(display_width, names))
    cell = float(np.interp(classes, [2, 3, 4, 12, 30], [1.9, 1.35, 1.05, 0.66, 0.42]))
    side = cell * classes
    letter = 0.085
    slanted = longest * letter > cell
    figure = new_figure(side + longest * letter + 0.9, side + (longest * letter * 0.6 if slanted else 0.2) + 1.35)
    axes = figure.add_subplot()
    colors = cell_colors(shares)
    # Not `imshow`, which would resample and color a whole image for a few squares.
    edges = np.arange(classes + 1) - 0.5
    axes.pcolormesh(edges, edges, colors)
    axes.set(xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5), aspect="equal")
    heading = "Confusion matrix, percent of each row" if values == "shares" else "Confusion matrix"
    if classes < total:
        heading += f": the {classes} of {total} classes with the most mistakes"
    _label_axes(axes, heading, names, slanted=slanted)
    _write_cells(
        axes, counts, shares, colors, "counts" if values == "both" and classes > _MAX_TWO_LINE_CLASSES else values
    )
    return figure


def cell_colors(shares: FloatArray) -> FloatArray:
    """Return the RGB color of each cell, float64 [C, C, 3], 0-1, of a matrix of shares of each row."""
    # The square root makes a mistake of one in a hundred visible.
    strength = np.sqrt(np.nan_to_num(shares))
    right = colormaps["Blues"](0.02 + 0.83 * strength)[..., :3]
    wrong = colormaps["Oranges"](0.02 + 0.83 * strength)[..., :3]
    colors = np.where(np.eye(len(shares), dtype=bool)[..., None], right, wrong)
    colors[strength == 0] = _EMPTY_COLOR
    return colors


def _label_axes(axes: Axes, heading: str, names: list[str], *, slanted: bool) -> None:
    places = range(len(names))
    size = 10 if len(names) <= _MAX_TWO_LINE_CLASSES else 9
    style_axes(
        axes,
        heading,
        "rows: actual · columns: predicted\nblue: correct · orange: wrong · darker: larger share of the row",
    )
    axes.set_xticks(places, names, fontsize=size, rotation=40 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(places, names, fontsize=size)
    if slanted:
        for text in axes.get_xticklabels():
            text.set_rotation_mode("anchor")
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.set_xticks(np.arange(0.5, len(names) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(names) - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)


def _write_cells(axes: Axes, counts: IntArray, shares: FloatArray, colors: FloatArray, values: CellValues) -> None:
    classes = len(counts)
    size = float(np.interp(classes, [2, 6, 12, 30], [15, 13, 10.5, 7.5]))
    for (row, column), count in np.ndenumerate(counts):
        if count == 0 and row != column and classes > _MAX_TWO_LINE_CLASSES:
            continue
        share, ink = float(shares[row, column]), _text_color(colors[row, column], empty=count == 0)
        main = format_whole_percent(share) if values == "shares" else str(count)
        weight = "bold" if row == column else "normal"
        if values == "both" and count:
            _annotate_cell(axes, (column, row), main, size=size, above=0.55 * size, color=ink, weight=weight)
            below = format_percent(share, digits=0 if classes > 8 else 1)
            _annotate_cell(axes, (column, row), below, size=0.7 * size, above=-0.75 * size, color=ink)
        else:
            _annotate_cell(axes, (column, row), main, size=size, color=ink, weight=weight)


def _annotate_cell(
    axes: Axes,
    place: tuple[int, int],
    text: str,
    *,
    size: float,
    color: str,
    weight: str = "normal",
    above: float = 0,
) -> None:
    """Write a number at a cell's center, or so many points above it."""
    axes.annotate(
        text,
        place,
        xytext=(0, above),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=size,
        fontweight=weight,
        color=color,
    )


def _text_color(color: npt.NDArray[np.float64], *, empty: bool) -> str:
    """Dark or white, whichever contrasts more with `color`; pale for an empty cell."""
    luminance = float(color @ np.array([0.2126, 0.7152, 0.0722]))
    if empty:
        return MUTED
    return INK if luminance > 0.5 else "white"
