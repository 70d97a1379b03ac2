"""The confusion matrix as a picture; of more than thirty classes, those with most mistakes."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from assay.evaluation.confusion import Confusion
from assay.evaluation.figure import INK, MUTED, new_figure, tidy
from assay.evaluation.many_classes import most_mistaken
from assay.evaluation.predictions import Floats, Integers
from assay.tables import columns, percent, short_names

Values = Literal["both", "counts", "shares"]

_ROOMY = 12
"""Up to so many classes a cell has room for two numbers."""
_NAME = 26
_EMPTY = (0.965, 0.965, 0.97)


def confusion_figure(confusion: Confusion, values: Values = "both") -> Figure:
    """Draw the matrix; rows actual, columns predicted.

    Of more than thirty classes, those with most mistakes are drawn; shares stay those of the whole row.

    What is right (the diagonal) is blue, mistakes are orange, darker for a larger share of the row, so that
    rare classes count like frequent ones.

    Args:
        confusion: the counts.
        values: what the cells say: the number of photos, the share of the row in percent, or both. With more
            than twelve classes there is room for one, and `both` gives the counts.
    """
    chosen = most_mistaken(confusion.counts)
    classes, of_all = len(chosen), len(confusion.classes)
    counts = confusion.counts[np.ix_(chosen, chosen)]
    shares = confusion.normalised[np.ix_(chosen, chosen)]
    names = short_names([confusion.classes[place] for place in chosen], _NAME)
    longest = max(map(columns, names))
    cell = float(np.interp(classes, [2, 3, 4, 12, 30], [1.9, 1.35, 1.05, 0.66, 0.42]))
    side = cell * classes
    letter = 0.085
    slanted = longest * letter > cell
    figure = new_figure(
        side + longest * letter + 0.9, side + (longest * letter * 0.6 if slanted else 0.2) + 1.35
    )
    axes = figure.add_subplot()
    colours = cell_colours(shares)
    # Not `imshow`, which would take a picture's worth of pixels through its colour scale for a few squares.
    edges = np.arange(classes + 1) - 0.5
    axes.pcolormesh(edges, edges, colours)
    axes.set(xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5), aspect="equal")
    heading = "Confusion matrix, percent of each row" if values == "shares" else "Confusion matrix"
    if classes < of_all:
        heading += f": the {classes} of {of_all} classes with most mistakes"
    _label(axes, heading, names, slanted=slanted)
    _write(axes, counts, shares, colours, "counts" if values == "both" and classes > _ROOMY else values)
    return figure


def cell_colours(shares: Floats) -> Floats:
    """Return the RGB colour of each cell, float64 [C, C, 3], 0-1, of a matrix of shares of each row."""
    # The square root makes a mistake of one in a hundred visible.
    strength = np.sqrt(np.nan_to_num(shares))
    right = colormaps["Blues"](0.02 + 0.83 * strength)[..., :3]
    wrong = colormaps["Oranges"](0.02 + 0.83 * strength)[..., :3]
    colours = np.where(np.eye(len(shares), dtype=bool)[..., None], right, wrong)
    colours[strength == 0] = _EMPTY
    return colours


def _label(axes: Axes, heading: str, names: list[str], *, slanted: bool) -> None:
    places = range(len(names))
    size = 10 if len(names) <= _ROOMY else 9
    tidy(
        axes,
        heading,
        "rows: what the photo shows · columns: what was predicted\n"
        "blue: right · orange: mistaken · darker: a larger share of the row",
    )
    axes.set_xticks(
        places, names, fontsize=size, rotation=40 if slanted else 0, ha="right" if slanted else "center"
    )
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


def _write(axes: Axes, counts: Integers, shares: Floats, colours: Floats, values: Values) -> None:
    classes = len(counts)
    size = float(np.interp(classes, [2, 6, 12, 30], [15, 13, 10.5, 7.5]))
    for (row, column), count in np.ndenumerate(counts):
        if count == 0 and row != column and classes > _ROOMY:
            continue
        share, ink = float(shares[row, column]), _ink(colours[row, column], empty=count == 0)
        main = _percent(share) if values == "shares" else str(count)
        weight = "bold" if row == column else "normal"
        if values == "both" and count:
            _number(axes, (column, row), main, size=size, above=0.55 * size, color=ink, weight=weight)
            below = percent(share, digits=0 if classes > 8 else 1)
            _number(axes, (column, row), below, size=0.7 * size, above=-0.75 * size, color=ink)
        else:
            _number(axes, (column, row), main, size=size, color=ink, weight=weight)


def _number(
    axes: Axes,
    place: tuple[int, int],
    text: str,
    *,
    size: float,
    color: str,
    weight: str = "normal",
    above: float = 0,
) -> None:
    """Write a number at a cell's centre, or so many points above it."""
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


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else percent(share, digits=0).removesuffix(" %")


def _ink(colour: npt.NDArray[np.float64], *, empty: bool) -> str:
    """Dark or white, whichever is told apart from `colour`; pale for an empty cell."""
    luminance = float(colour @ np.array([0.2126, 0.7152, 0.0722]))
    if empty:
        return MUTED
    return INK if luminance > 0.5 else "white"
