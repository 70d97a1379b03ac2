"""Contact sheets: many thumbnails on one page with captions, such as the misclassified images."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from assay.core.progress import Progress, no_progress
from assay.core.tables import format_percent
from assay.evaluation.figure_style import BLUE, DPI, INK, MUTED, VERMILION, truncate_text
from assay.evaluation.predictions import Mistake
from assay.image import DecodeError, decode

BACKGROUND = (238, 240, 242)
"""RGB colour beside photos that are not square, and of tiles without a photo."""


class Thumbnail(NamedTuple):
    """A square picture of a photo."""

    pixels: npt.NDArray[np.uint8]
    """Array [S, S, 3], RGB: the whole photo, upright, in its own proportions."""
    problem: str | None
    """Why there is no photo in it, or none."""


def thumbnail(path: str | Path, size: int) -> Thumbnail:
    """Read a photo and fit it into a square of `size` pixels a side. Never fails on a bad photo."""
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name.
        return _placeholder(size, "file is missing" if isinstance(error, FileNotFoundError) else "cannot be opened")
    try:
        return Thumbnail(letterbox(decode(data, min_side=size, value_range="minmax"), size), None)
    except DecodeError as error:
        return _placeholder(size, str(error))


def letterbox(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Fit pixels [H, W, 3] into a square [size, size, 3] without changing their proportions."""
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    small = Image.fromarray(pixels).resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BICUBIC
    )
    square = Image.new("RGB", (size, size), BACKGROUND)
    square.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    return np.asarray(square)


def _placeholder(size: int, problem: str) -> Thumbnail:
    return Thumbnail(np.full((size, size, 3), BACKGROUND, dtype=np.uint8), problem)


MAX_TILES = 48
"""Photos on a sheet unless told otherwise."""

_TILE_SIDE = 236  # of a photo, in pixels
_GAP = 18
_LINE_HEIGHT = 19  # height of a line of text
_HEADER_HEIGHT = 84
_COLUMNS = 6
_PIXELS_PER_POINT = DPI / 72  # pixels
_FONT_SIZE = 7.5  # points


class CaptionLine(NamedTuple):
    """A line of text under a photo; the middle is cut out where it is too long."""

    text: str
    colour: str = INK
    bold: bool = False


@dataclass(frozen=True)
class Tile:
    """A photo and the lines under it."""

    photo: Thumbnail
    lines: tuple[CaptionLine, ...]


def misclassified_sheet(
    mistakes: Sequence[Mistake], *, limit: int = MAX_TILES, progress: Progress = no_progress
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
        tiles.append(_mistake_tile(mistake))
        progress("misclassified photos", len(tiles), len(shown))
    if not mistakes:
        return contact_sheet("Misclassified photos", "None: every prediction matches the label.", ())
    note = "label → prediction and its confidence · most confident first"
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
    text = _LINE_HEIGHT * max((len(tile.lines) for tile in tiles), default=0) + 10
    width, height = columns * (_TILE_SIDE + _GAP) + _GAP, _HEADER_HEIGHT + rows * (_TILE_SIDE + text + _GAP)
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(_GAP, 30, title, fontsize=12, fontweight="bold", color=INK, va="center")
    axes.text(
        _GAP,
        60,
        truncate_text(note, (width - 2 * _GAP) / _PIXELS_PER_POINT, 8.5),
        fontsize=8.5,
        color=MUTED,
        va="center",
    )
    for place, tile in enumerate(tiles):
        left = _GAP + (place % columns) * (_TILE_SIDE + _GAP)
        top = _HEADER_HEIGHT + (place // columns) * (_TILE_SIDE + text + _GAP)
        canvas[top : top + _TILE_SIDE, left : left + _TILE_SIDE] = tile.photo.pixels
        _write_caption(axes, tile, left, top)
    axes.imshow(canvas, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")
    return figure


def _mistake_tile(mistake: Mistake) -> Tile:
    label = mistake.actual
    if mistake.source_label is not None and mistake.source_label != mistake.actual:
        label = f"{mistake.actual} ({mistake.source_label})"
    sure = format_percent(mistake.confidence)
    lines = (
        CaptionLine(label, BLUE, bold=True),
        CaptionLine(f"→ {mistake.predicted}  {sure}", VERMILION, bold=True),
        CaptionLine(mistake.id, MUTED),
    )
    return Tile(thumbnail(mistake.path, _TILE_SIDE), lines)


def _write_caption(axes: Axes, tile: Tile, left: int, top: int) -> None:
    room = _TILE_SIDE / _PIXELS_PER_POINT
    for row, line in enumerate(tile.lines):
        # Bold letters are about an eighth wider.
        size = _FONT_SIZE * (1.125 if line.bold else 1)
        axes.text(
            left,
            top + _TILE_SIDE + 4 + _LINE_HEIGHT * (row + 0.5),
            truncate_text(line.text, room, size),
            fontsize=_FONT_SIZE,
            color=line.colour,
            fontweight="bold" if line.bold else "normal",
            va="center",
        )
    if tile.photo.problem is not None:
        reason = textwrap.fill(f"not shown: {tile.photo.problem}", width=22, max_lines=6, placeholder="…")
        middle = (left + _TILE_SIDE / 2, top + _TILE_SIDE / 2)
        axes.text(*middle, reason, fontsize=_FONT_SIZE, color=MUTED, ha="center", va="center")
