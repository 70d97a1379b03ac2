"""Many small photos on one page, each with a few words: the gallery of mistakes.

The page is bounded: it shows the first photos and says how many are left out.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from assay.evaluation.figure import BLUE, DPI, INK, MUTED, VERMILION, fit
from assay.evaluation.misclassified import Mistake
from assay.evaluation.thumbnail import Thumbnail, thumbnail
from assay.progress import Progress, silent
from assay.tables import percent

LIMIT = 48
"""Photos on a sheet unless told otherwise."""

_SIDE = 236  # of a photo, in pixels
_GAP = 18
_LINE = 19  # height of a line of text
_HEAD = 84
_COLUMNS = 6
_POINT = DPI / 72  # pixels
_FONT = 7.5  # points


class Line(NamedTuple):
    """A line of text under a photo; the middle is cut out where it is too long."""

    text: str
    colour: str = INK
    bold: bool = False


@dataclass(frozen=True)
class Tile:
    """A photo and the lines under it."""

    photo: Thumbnail
    lines: tuple[Line, ...]


def misclassified_sheet(
    mistakes: Sequence[Mistake], *, limit: int = LIMIT, progress: Progress = silent
) -> Figure:
    """Draw the first mistakes: the photo, its label → what was predicted, and the confidence.

    Args:
        mistakes: in the order to show, most confident first.
        limit: most photos on the sheet; at least 1.
        progress: told of every photo read.
    """
    shown = mistakes[: max(1, limit)]
    tiles = []
    for mistake in shown:
        tiles.append(_tile(mistake))
        progress("misclassified photos", len(tiles), len(shown))
    if not mistakes:
        return contact_sheet(
            "Misclassified photos", "None: every photo was classified as it is labelled.", ()
        )
    note = "most confident first · label → prediction, its confidence"
    left_out = len(mistakes) - len(shown)
    if left_out:
        note += f" · {len(shown)} of {len(mistakes)} shown, {left_out} more in misclassified.csv"
    return contact_sheet(f"Misclassified photos ({len(mistakes)})", note, tiles)


def contact_sheet(title: str, note: str, tiles: Sequence[Tile]) -> Figure:
    """Draw tiles in rows of six under a title and an explanation.

    Args:
        title: heading of the page.
        note: one line under it.
        tiles: in reading order; may be none. Their photos are scaled to 236 pixels a side.
    """
    columns = min(_COLUMNS, max(3, len(tiles)))
    rows = -(-len(tiles) // columns)
    text = _LINE * max((len(tile.lines) for tile in tiles), default=0) + 10
    width, height = columns * (_SIDE + _GAP) + _GAP, _HEAD + rows * (_SIDE + text + _GAP)
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(_GAP, 30, title, fontsize=12, fontweight="bold", color=INK, va="center")
    axes.text(_GAP, 60, fit(note, (width - 2 * _GAP) / _POINT, 8.5), fontsize=8.5, color=MUTED, va="center")
    for place, tile in enumerate(tiles):
        left = _GAP + (place % columns) * (_SIDE + _GAP)
        top = _HEAD + (place // columns) * (_SIDE + text + _GAP)
        canvas[top : top + _SIDE, left : left + _SIDE] = tile.photo.pixels
        _write(axes, tile, left, top)
    axes.imshow(canvas, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")
    return figure


def _tile(mistake: Mistake) -> Tile:
    label = mistake.actual
    if mistake.source_label is not None and mistake.source_label != mistake.actual:
        label = f"{mistake.actual} ({mistake.source_label})"
    sure = percent(mistake.confidence)
    lines = (
        Line(label, BLUE, bold=True),
        Line(f"→ {mistake.predicted}  {sure}", VERMILION, bold=True),
        Line(mistake.id, MUTED),
    )
    return Tile(thumbnail(mistake.path, _SIDE), lines)


def _write(axes: Axes, tile: Tile, left: int, top: int) -> None:
    room = _SIDE / _POINT
    for row, line in enumerate(tile.lines):
        # Bold letters are about an eighth wider.
        size = _FONT * (1.125 if line.bold else 1)
        axes.text(
            left,
            top + _SIDE + 4 + _LINE * (row + 0.5),
            fit(line.text, room, size),
            fontsize=_FONT,
            color=line.colour,
            fontweight="bold" if line.bold else "normal",
            va="center",
        )
    if tile.photo.problem is not None:
        reason = textwrap.fill(f"not shown: {tile.photo.problem}", width=22, max_lines=6, placeholder="…")
        middle = (left + _SIDE / 2, top + _SIDE / 2)
        axes.text(*middle, reason, fontsize=_FONT, color=MUTED, ha="center", va="center")
