"""The confusion matrix as rows of coloured cells for a page; of very many classes, those that fare worst."""

from typing import NamedTuple

import numpy as np

from assay.evaluation.confusion import Confusion
from assay.evaluation.confusion_figure import cell_colours
from assay.evaluation.figure import MUTED
from assay.evaluation.many_classes import most_mistaken
from assay.tables import MOST_CLASSES, percent


class MatrixCell(NamedTuple):
    """How many photos of the row's class were taken for the column's."""

    photos: int
    share: str
    """Of the row, as a percentage; empty for no photos."""
    background: str
    ink: str
    """Colours, as #rrggbb."""
    right: bool


class MatrixRow(NamedTuple):
    """The photos of one class."""

    name: str
    cells: tuple[MatrixCell, ...]
    elsewhere: int
    """Photos taken for a class that has no column."""


class Matrix(NamedTuple):
    """What a page shows of a confusion matrix."""

    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    whole: bool
    """Whether every class is shown."""


def matrix(confusion: Confusion, most: int = MOST_CLASSES) -> Matrix:
    """Lay out the matrix; of more than `most` classes, those with most mistakes, in output order."""
    counts, shares = confusion.counts, confusion.normalised
    colours = cell_colours(shares)
    chosen = most_mistaken(counts, most)
    rows = []
    for row in chosen:
        cells = tuple(
            MatrixCell(
                int(counts[row, column]),
                percent(float(shares[row, column])) if counts[row, column] else "",
                _hexadecimal(colours[row, column]),
                _ink(colours[row, column]) if counts[row, column] else MUTED,
                bool(row == column),
            )
            for column in chosen
        )
        elsewhere = int(counts[row].sum() - counts[row, chosen].sum())
        rows.append(MatrixRow(confusion.classes[row], cells, elsewhere))
    columns = tuple(confusion.classes[column] for column in chosen)
    return Matrix(columns, tuple(rows), len(chosen) == len(confusion.classes))


def _hexadecimal(colour: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in colour)


def _ink(colour: np.ndarray) -> str:
    """Black or white, whichever contrasts more with an RGB colour: at least 4.5 to 1 (WCAG 2.2)."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"
