"""Contact sheets: a page of images in rows with captions, drawn with Pillow."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from assay.core.printable_text import printable
from assay.core.text_layout import shorten_to_fit
from assay.image.thumbnail import letterbox

INK = "#222222"
MUTED = "#5F6670"

_LINE_HEIGHT = 20
_TITLE_HEIGHT = 46
_CAPTION_MARGIN = 3
_TITLE_SIZE, _TEXT_SIZE = 22, 14
# Fonts for scripts that the main font lacks, where the computer has them.
_FALLBACK_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "SourceHanSans-Regular.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "wqy-zenhei.ttc",
    "Arial Unicode.ttf",
)
_MISSING_GLYPH = "\U0010fffe"


@dataclass(frozen=True)
class CaptionLine:
    """A line of text under a tile; the middle of a long one is replaced by an ellipsis."""

    text: str
    color: str = INK
    bold: bool = False


@dataclass(frozen=True)
class Tile:
    """One or more images side by side, with a caption.

    Attributes:
        images: uint8 arrays [H, W, 3], RGB; each is fitted into a square.
        lines: the caption.
        problem: written over the first image, such as why it cannot be read.
    """

    images: tuple[npt.NDArray[np.uint8], ...]
    lines: tuple[CaptionLine, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class ContactSheet:
    """Tiles in reading order under a title and an explanation.

    Attributes:
        tiles: all with the same number of images.
        columns: maximum number of tiles per row.
        side: side of an image, in pixels.
        title: heading of the page; empty: none.
        note: wrapped under the title; empty: none.
        headings: one per image of a tile, above the first row.
        footer: the last line; empty: none.
        gap: pixels between tiles and around them.
        seam: pixels between the images of one tile.
    """

    tiles: Sequence[Tile]
    columns: int
    side: int
    title: str = ""
    note: str = ""
    headings: Sequence[str] = ()
    footer: str = ""
    gap: int = 18
    seam: int = 4

    def draw(self) -> Image.Image:
        """Draw the sheet; deterministic."""
        gap, columns = self.gap, max(1, min(self.columns, len(self.tiles)))
        width = self._tile_width(max((len(tile.images) for tile in self.tiles), default=1))
        height = self.side + _LINE_HEIGHT * max((len(tile.lines) for tile in self.tiles), default=0) + gap
        texts = _measure(printable(self.title), _TITLE_SIZE), _measure(printable(self.note), _TEXT_SIZE)
        page_width = max(columns * (width + gap) + gap, min(int(max(texts)) + 2 * gap + 1, 4 * self.side))
        room = page_width - 2 * gap
        notes = _wrap(self.note, room)
        below_title = gap + (_TITLE_HEIGHT if self.title else 0)
        top = below_title + _LINE_HEIGHT * (len(notes) + bool(self.headings))
        bottom = top + -(-len(self.tiles) // columns) * height
        page = Image.new("RGB", (page_width, bottom + (_LINE_HEIGHT if self.footer else 0)), "white")
        draw = ImageDraw.Draw(page)
        _write(draw, (gap, gap), self.title, room, size=_TITLE_SIZE)
        for row, note in enumerate(notes):
            _write(draw, (gap, below_title + row * _LINE_HEIGHT), note, room, color=MUTED)
        for column, heading in enumerate(self.headings):
            place = gap + column * (self.side + self.seam), top - _LINE_HEIGHT
            _write(draw, place, heading, self.side, color=MUTED)
        for index, tile in enumerate(self.tiles):
            row, column = divmod(index, columns)
            self._draw_tile(page, tile, gap + column * (width + gap), top + row * height)
        _write(draw, (gap, bottom - gap // 2), self.footer, room, color=MUTED)
        return page

    def _draw_tile(self, page: Image.Image, tile: Tile, left: int, top: int) -> None:
        draw = ImageDraw.Draw(page)
        for column, pixels in enumerate(tile.images):
            square = pixels if pixels.shape[:2] == (self.side, self.side) else letterbox(pixels, self.side)
            page.paste(Image.fromarray(square), (left + column * (self.side + self.seam), top))
        if tile.problem is not None:
            for row, line in enumerate(_wrap(tile.problem, self.side - 16)):
                _write(draw, (left + 8, top + 8 + row * _LINE_HEIGHT), line, self.side - 16, color=MUTED)
        room = self._tile_width(len(tile.images))
        for row, caption in enumerate(tile.lines):
            place = left, top + self.side + _CAPTION_MARGIN + row * _LINE_HEIGHT
            _write(draw, place, caption.text, room, color=caption.color, bold=caption.bold)

    def _tile_width(self, images: int) -> int:
        return images * (self.side + self.seam) - self.seam


def fit_text(text: str, width: float, size: int = _TEXT_SIZE) -> str:
    """Make a text printable and shorten it in the middle to `width` pixels."""
    return shorten_to_fit(text, lambda short: _measure(short, size) <= width)


def _wrap(text: str, width: float) -> list[str]:
    lines: list[str] = []
    for word in printable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _measure(longer, _TEXT_SIZE) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    room: float,
    *,
    size: int = _TEXT_SIZE,
    color: str = INK,
    bold: bool = False,
) -> None:
    x, y = at
    for font, run in _runs(fit_text(text, room - 1, size), size):
        draw.text((x, y), run, fill=color, font=font, stroke_width=0.4 if bold else 0, stroke_fill=color)
        x += font.getlength(run)


def _measure(text: str, size: int) -> float:
    return sum(font.getlength(run) for font, run in _runs(text, size))


def _runs(text: str, size: int) -> list[tuple[ImageFont.FreeTypeFont, str]]:
    return [(font, "".join(letters)) for font, letters in groupby(text, key=lambda letter: _font_of(letter, size))]


@cache
def _font_of(letter: str, size: int) -> ImageFont.FreeTypeFont:
    """Return the first font that has a glyph for the letter, or the main font."""
    main = _main_font(size)
    if letter.isspace() or letter.isascii() or _has_glyph(main, letter):
        return main
    return next((font for font in _fallback_fonts(size) if _has_glyph(font, letter)), main)


def _has_glyph(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    mask, missing = font.getmask(letter), font.getmask(_MISSING_GLYPH)
    return mask.size != missing.size or bytes(mask) != bytes(missing)


@cache
def _main_font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib, or Pillow's own font."""
    found = find_spec("matplotlib")
    if found is not None and found.origin is not None:
        path = Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(path, size)
    return cast("ImageFont.FreeTypeFont", ImageFont.load_default(size))


@cache
def _fallback_fonts(size: int) -> tuple[ImageFont.FreeTypeFont, ...]:
    fonts = []
    for name in _FALLBACK_FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return tuple(fonts)
