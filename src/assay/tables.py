"""Tables as text, CSV and JSON: aligned, safe for any file name, written whole or not at all.

Knows nothing of what the tables say.
"""

import io
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.files import write_text
from assay.safe_csv import Cell, SafeWriter
from assay.text import printable, printable_json

MOST_CLASSES = 30
"""Classes up to which texts, pages and figures show every class. Of more they show those that matter most;
JSON and CSV files always hold all."""
MOST_LISTED = 20
"""Classes, or pairs of classes, that are shown of more than `MOST_CLASSES`."""


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a fixed count of decimals, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage: 0.9345 as `93.5 %`, a dash where there is none.

    What is not all is never rounded to all: 0.9999 is `99.9 %`, and 0.0001 `0.1 %`.
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


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for a Chinese character, none for an accent."""
    return sum(_columns(letter) for letter in text)


def shorten(text: str, width: int) -> str:
    """Cut the middle out of a name wider than `width` columns of a terminal; both ends tell names apart."""
    text = printable(text)
    if columns(text) <= width:
        return text
    head = _start(text, max(1, width // 2))
    tail = _start(text[::-1], width - 1 - columns(head))[::-1]
    return f"{head}…{tail}"


def short_names(names: Sequence[str], width: int) -> list[str]:
    """Shorten names that stand together; where two would become the same, all are numbered from 1."""
    short = [shorten(name, width) for name in names]
    if len(set(short)) == len(short):
        return short
    digits = len(str(len(names)))
    return [
        f"{place:>{digits}} {shorten(name, width - digits - 1)}" for place, name in enumerate(names, start=1)
    ]


def listed(names: Sequence[str], most: int = 10) -> str:
    """Return names in one line; of many, the first and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def align(rows: Sequence[Sequence[str]], *, gap: int = 2, right: bool = True) -> str:
    """Return rows of equal length as text: the first column to the left, the others to the right or left.

    Every cell is made safe to show, on one line.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            _pad(text, width, right=right and place > 0)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((" " * gap).join(cells).rstrip())
    return "\n".join(lines)


def write_csv(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]], *, exact: bool = False
) -> None:
    """Write a CSV file (RFC 4180, UTF-8, lines ending in a line feed); None is an empty cell.

    Args:
        path: the file.
        header: names of the columns.
        rows: one a line.
        exact: for tables that Assay reads back; others show unsafe characters as escapes (see `SafeWriter`).
    """
    text = io.StringIO()
    writer = SafeWriter(text, exact=exact)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Write JSON that every reader accepts and a terminal may show: indented, no NaN.

    Raises:
        ValueError: `value` holds a number that is not finite.
    """
    text = printable_json(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))
    write_text(path, text + "\n")


def _start(text: str, width: int) -> str:
    """The longest beginning of a text that is at most `width` columns wide."""
    fitting = (text[:end] for end in range(len(text), 0, -1) if columns(text[:end]) <= width)
    return next(fitting, "")


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - columns(text))
    return space + text if right else text + space
