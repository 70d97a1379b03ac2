"""The confusion matrix: counts, text tables and the figure."""

import textwrap
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from assay.core.printable_text import printable
from assay.core.tables import (
    MAX_CLASSES_LISTED,
    MAX_CLASSES_SHOWN,
    align_columns,
    display_width,
    format_percent,
    shorten,
    shorten_names,
)
from assay.evaluation.figure_style import INK, MUTED, new_figure, style_axes
from assay.evaluation.metrics import confusion_counts, most_confused_classes
from assay.evaluation.predictions import FloatArray, IntArray, Predictions

_TEXT_NAME_WIDTH = 24
_MAX_LINE_WIDTH = 110
_FIGURE_NAME_WIDTH = 26
_MAX_TWO_LINE_CLASSES = 12  # with more classes a cell has room for one number only
_EMPTY_COLOR = (0.965, 0.965, 0.97)

HOW_TO_READ = (
    "Rows are the actual classes, columns the predicted ones. Numbers on the diagonal, from top left to bottom "
    "right, are correct; every other number is a mistake."
)

CellValues = Literal["both", "counts", "shares"]


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """`count` images of `actual` were predicted as `predicted`, a `share` (0-1) of all images of `actual`."""

    actual: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Images counted by actual and predicted class.

    Attributes:
        classes: names of the C classes, in output order.
        counts: int64 array [C, C]; rows actual, columns predicted.
    """

    classes: tuple[str, ...]
    counts: IntArray

    @classmethod
    def from_predictions(cls, predictions: Predictions) -> Self:
        """Count the predictions."""
        return cls(predictions.classes, confusion_counts(predictions))

    @property
    def normalized(self) -> FloatArray:
        """Share of each row, float64 [C, C]: rows sum to 1; a class without images is a row of NaN."""
        support = self.counts.sum(axis=1, keepdims=True)
        shares = np.full(self.counts.shape, np.nan)
        np.divide(self.counts, support, out=shares, where=support > 0)
        return shares

    def pairs(self) -> tuple[ConfusedPair, ...]:
        """Return the confused pairs of classes, the most frequent first."""
        shares = self.normalized
        rows, columns = np.nonzero(self.counts)
        pairs = [
            ConfusedPair(self.classes[i], self.classes[j], int(self.counts[i, j]), float(shares[i, j]))
            for i, j in zip(rows, columns, strict=True)
            if i != j
        ]
        return tuple(sorted(pairs, key=lambda pair: (-pair.count, -pair.share)))

    def to_dict(self) -> dict[str, Any]:
        """Return the matrix ready for JSON; the normalized row of a class without images is null."""
        shares = self.normalized
        return {
            "classes": list(self.classes),
            "rows": "actual",
            "columns": "predicted",
            "counts": self.counts.tolist(),
            "normalized": [None if np.isnan(row).any() else row.tolist() for row in shares],
            "most_confused": [asdict(pair) for pair in self.pairs()],
        }

    def to_text(self) -> str:
        """Return counts and percentages as aligned text with an explanation.

        Of more than thirty classes, the most frequent mistakes and the classes with the most mistakes are listed.
        """
        if len(self.classes) > MAX_CLASSES_SHOWN:
            return self._many_classes_text()
        counts = [[str(count) for count in row] for row in self.counts]
        shares = [[_whole_percent(share) for share in row] for row in self.normalized]
        help_text = f"How to read it: {HOW_TO_READ[0].lower()}{HOW_TO_READ[1:]} {self.summary()}"
        parts = [
            "Confusion matrix: number of photos (rows actual, columns predicted)",
            self._table(counts),
            "Percent of each row",
            self._table(shares),
            textwrap.fill(help_text, width=100, break_long_words=False),
        ]
        return "\n\n".join(parts) + "\n"

    def summary(self) -> str:
        """Return the accuracy and the most frequent mistake in one or two sentences."""
        total, right = int(self.counts.sum()), int(np.trace(self.counts))
        if not total:
            return "There are no photos."
        sentence = f"{right} of {total} photos ({format_percent(right / total)}) are correct."
        pairs = self.pairs()
        if not pairs:
            return sentence
        worst = pairs[0]
        support = int(self.counts[self.classes.index(worst.actual)].sum())
        actual, predicted = printable(worst.actual), printable(worst.predicted)
        return (
            f"{sentence} The most frequent mistake: {worst.count} of {support} “{actual}” photos "
            f"({format_percent(worst.share)}) predicted as “{predicted}”."
        )

    def _many_classes_text(self) -> str:
        pairs = self.pairs()
        mistakes = [["actual", "predicted", "photos", "share of class"]]
        for pair in pairs[:MAX_CLASSES_LISTED]:
            names = [shorten(name, _TEXT_NAME_WIDTH) for name in (pair.actual, pair.predicted)]
            mistakes.append([*names, str(pair.count), format_percent(pair.share)])
        support = self.counts.sum(axis=1)
        wrong = support - np.diag(self.counts)
        worst = sorted(np.flatnonzero(wrong), key=lambda row: (-wrong[row] / support[row], -wrong[row]))
        first: dict[str, str] = {}
        for pair in pairs:
            first.setdefault(pair.actual, f"{shorten(pair.predicted, _TEXT_NAME_WIDTH)} ({pair.count})")
        classes = [["class", "photos", "wrong", "share wrong", "most often predicted as"]]
        for row in worst[:MAX_CLASSES_LISTED]:
            name, share = self.classes[row], format_percent(wrong[row] / support[row])
            classes.append([shorten(name, _TEXT_NAME_WIDTH), str(support[row]), str(wrong[row]), share, first[name]])
        parts = [
            f"Confusion matrix of {len(self.classes)} classes (in full in confusion_matrix.json)",
            f"Most frequent mistakes ({len(mistakes) - 1} of {len(pairs)} kinds)",
            align_columns(mistakes),
            f"Classes with the largest share of mistakes ({len(classes) - 1} of {len(worst)} with mistakes)",
            align_columns(classes),
            textwrap.fill(self.summary(), width=100, break_long_words=False),
        ]
        return "\n\n".join(parts) + "\n"

    def _table(self, cells: list[list[str]]) -> str:
        names = shorten_names(self.classes, _TEXT_NAME_WIDTH)
        table = align_columns([["", *names], *([name, *row] for name, row in zip(names, cells, strict=True))])
        if len(table.split("\n", 1)[0]) <= _MAX_LINE_WIDTH:
            return table
        # Too many or too long names for columns: number the classes instead.
        heads = [str(k) for k in range(1, len(names) + 1)]
        width = len(heads[-1])
        rows = [[f"{head:>{width}} {name}", *row] for head, name, row in zip(heads, names, cells, strict=True)]
        return align_columns([["", *heads], *rows], gap=1)


def _whole_percent(share: float) -> str:
    return "–" if np.isnan(share) else format_percent(share, digits=0).removesuffix(" %")


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
    # Not `imshow`, which would take a picture's worth of pixels through its color scale for a few squares.
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
        main = _whole_percent(share) if values == "shares" else str(count)
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
