"""Text for people: formatted numbers, shortened names, and columns aligned by their width on a terminal."""

import textwrap
import unicodedata
from collections.abc import Callable, Sequence

from assay.core.printable_text import printable

MAX_CLASSES_SHOWN = 30
"""Number of classes up to which texts, pages and figures show every class; JSON and CSV files always contain all."""

MAX_CLASSES_LISTED = 20
"""Number of classes, or pairs of classes, shown if there are more than `MAX_CLASSES_SHOWN`."""


def format_number(value: float | None, digits: int = 3) -> str:
    """Format a number with fixed decimals; None is a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def format_percent(share: float | None, digits: int = 1) -> str:
    """Format a fraction as a percentage: 0.9345 is `93.5 %`, None a dash.

    Only 1 is shown as 100 % and only 0 as 0 %: 0.9999 is `99.9 %`, and 0.0001 is `0.1 %`.
    """
    if share is None:
        return "–"
    step = 10.0**-digits
    value = round(100 * share, digits)
    if share < 1:
        value = min(value, 100 - step)
    if share > 0:
        value = max(value, step)
    return f"{value:.{digits}f} %"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Format a number of things: `1 photo`, `1,200 photos`, `0 classes`.

    Args:
        count: the number.
        noun: in the singular; its last word is counted.
        plural: by default the noun with `s`, or with `es` after `s`, `x`, `ch` (but not in epoch) and `sh`.
    """
    if plural is None:
        sibilant = noun.endswith(("s", "x", "ch", "sh")) and not noun.endswith("epoch")
        plural = f"{noun}{'es' if sibilant else 's'}"
    return f"{count:,} {noun if count == 1 else plural}"


def display_width(text: str) -> int:
    """Return the width of a text in terminal columns: wide characters count 2, combining characters 0."""
    return sum(_char_width(letter) for letter in text)


def shorten(text: str, width: int) -> str:
    """Replace the middle of a text wider than `width` terminal columns by an ellipsis."""
    text = printable(text)
    if display_width(text) <= width:
        return text
    head = _prefix(text, max(1, width // 2))
    tail = _prefix(text[::-1], width - 1 - display_width(head))[::-1]
    return f"{head}…{tail}"


def shorten_to_fit(text: str, fits: Callable[[str], bool]) -> str:
    """Make a text printable and replace its middle by an ellipsis, as short as it must be for `fits` to accept it."""
    text = printable(text)
    if fits(text):
        return text
    for keep in range(len(text) - 1, 0, -1):
        short = f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
        if fits(short):
            return short
    return "…"


def shorten_names(names: Sequence[str], width: int) -> list[str]:
    """Shorten names; if two become equal, all are numbered from 1."""
    short = [shorten(name, width) for name in names]
    if len(set(short)) == len(short):
        return short
    digits = len(str(len(names)))
    return [f"{place:>{digits}} {shorten(name, width - digits - 1)}" for place, name in enumerate(names, start=1)]


def join_names(names: Sequence[str], most: int = 10) -> str:
    """Join names with commas; of more than `most`, the first ones and the number of others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def wrap(text: str, width: int = 100) -> str:
    """Return a text in lines of at most `width` characters; a number and its percent sign stay on one line."""
    joined = text.replace(" %", "\N{NO-BREAK SPACE}%")
    return textwrap.fill(joined, width, break_long_words=False).replace("\N{NO-BREAK SPACE}%", " %")


def align_columns(rows: Sequence[Sequence[str]], *, gap: int = 2, right: bool = True) -> str:
    """Format rows of equal length as aligned columns, `gap` spaces apart, with cells made safe to print.

    With `right`, all columns but the first are right-aligned.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            _pad(text, width, right=right and place > 0)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((" " * gap).join(cells).rstrip())
    return "\n".join(lines)


def _prefix(text: str, width: int) -> str:
    fitting = (text[:end] for end in range(len(text), 0, -1) if display_width(text[:end]) <= width)
    return next(fitting, "")


def _char_width(letter: str) -> int:
    if unicodedata.category(letter) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - display_width(text))
    return space + text if right else text + space
