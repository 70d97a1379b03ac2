"""The style of all figures (colours that colour-blind people can distinguish, fonts, size), and their saving.

Uses matplotlib's objects only, never pyplot, so that figures can be made in any thread and need no display.

Source of the colours: M. Okabe and K. Ito, "Color Universal Design" (2008).
"""

import io
import warnings
from functools import cache
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.text import Text

from assay.core.files import atomic_write
from assay.core.printable_text import printable_lines
from assay.core.text_layout import shorten_to_fit

BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
ORANGE = "#E69F00"
SKY = "#56B4E9"
PURPLE = "#CC79A7"
INK = "#222222"
MUTED = "#5F6670"
LINES = "#D9DCE1"
COLOR_CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)

DPI = 150
"""Pixels an inch of every saved figure."""

# Families for scripts that DejaVu Sans lacks, where the computer has them.
_FALLBACK_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "WenQuanYi Zen Hei",
    "Arial Unicode MS",
)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of that size in inches, whose parts are laid out without overlapping."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def style_axes(axes: Axes, title: str, note: str = "") -> None:
    """Give axes the common look: title at the left, an explanation under it, pale lines, no box."""
    pad = 10 + 13 * len(note.splitlines())
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=pad)
    if note:
        axes.annotate(
            note,
            (0, 1),
            xytext=(0, 9),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=8.5,
            color=MUTED,
            va="bottom",
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINES)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9, length=0)
    axes.xaxis.label.set(color=MUTED, fontsize=9.5)
    axes.yaxis.label.set(color=MUTED, fontsize=9.5)


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG file atomically; the same figure gives the same bytes."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(to_png(figure))


def to_png(figure: Figure) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    return _render(figure, "png", {"Software": None})


def to_svg(figure: Figure) -> str:
    """Return the figure as an SVG document whose letters are those of the reader's computer."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "assay"}):
        text = _render(figure, "svg", {"Creator": None, "Date": None, "Format": None, "Type": None}).decode()
    return text.replace("'DejaVu Sans'", "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans'")


def _render(figure: Figure, form: str, metadata: dict[str, None]) -> bytes:
    for text in figure.findobj(Text):
        # Names are shown literally: a `$` does not start a formula.
        text.set_parse_math(False)
        text.set_text(printable_lines(text.get_text()))
        text.set_fontfamily(list(_font_families()))
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # A script that no font here can write is drawn as boxes; the tables hold it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format=form, bbox_inches="tight", pad_inches=0.15, metadata=metadata)
    return stream.getvalue()


def truncate_text(text: str, width: float, size: float) -> str:
    """Cut the middle out of a text that is wider than `width` when written at `size`, both in points."""
    return shorten_to_fit(text, lambda short: _text_width(short, size) <= width)


def _text_width(text: str, size: float) -> float:
    return size * sum(_glyph_advance(letter) for letter in text)


@cache
def _glyph_advance(letter: str) -> float:
    """How far a letter of DejaVu Sans moves the pen, as a share of the font's size."""
    font = get_font(findfont("DejaVu Sans"))
    index = font.get_char_index(ord(letter))
    if index == 0:
        return 1.2  # of another font: at most a full square, or the box of a letter that no font has
    font.set_size(100, 72)
    return float(font.load_glyph(index, LoadFlags.NO_HINTING).linearHoriAdvance) / 65536 / 100


@cache
def _font_families() -> tuple[str, ...]:
    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed))
