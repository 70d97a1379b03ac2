"""Read and write CSV (safe against formula injection) and JSON, and format numbers and aligned columns."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from assay.core.files import write_text
from assay.core.text import printable, printable_json

Cell = str | int | float | None

# What spreadsheets skip before they look for a formula: blanks, controls, invisible characters.
_SKIPPED = r"[\s\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
_FORMULA = re.compile(rf"'*(?:[\t\r\n]|{_SKIPPED}*[=+\-@\uff1d\uff0b\uff0d\uff20\u2212])")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


class CsvWriter(Protocol):
    """What `csv.writer` returns; the standard library has no name for it."""

    def writerow(self, row: Iterable[object], /) -> object:
        """Write one row."""

    def writerows(self, rows: Iterable[Iterable[object]], /) -> None:
        """Write rows."""


def escape_formula(text: str) -> str:
    """Return a cell as it is written: with an apostrophe before what a spreadsheet would run."""
    return f"'{text}" if _is_formula(text) else text


def unescape_formula(cell: str) -> str:
    """Return the text that `escape_formula` was given; other cells come back as they are."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


class SafeCsvWriter:
    """Writes rows whose texts are protected. Lines end in a line feed."""

    def __init__(self, stream: TextIO, *, exact: bool = False) -> None:
        r"""Choose the stream.

        Args:
            stream: opened with `newline=""`.
            exact: for tables that Assay reads back: texts keep every character. Tables for people show unsafe
                characters (escape sequences, line breaks, marks that turn the text) as `\x1b`.
        """
        self._table: CsvWriter = csv.writer(_LineFeedStream(stream), lineterminator="\r\n")
        self._exact = exact

    def writerow(self, row: Iterable[object]) -> None:
        """Write one row; None is an empty cell, and numbers are written as they are."""
        self._table.writerow([self._cell(cell) if isinstance(cell, str) else cell for cell in row])

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Write rows."""
        for row in rows:
            self.writerow(row)

    def _cell(self, text: str) -> str:
        if not text or (text[0].isalnum() and text.isascii() and text.isprintable()):
            return text  # most cells, and predictions write millions
        # What is no Unicode text (a lone surrogate) cannot be written as UTF-8 at all.
        exact = text.encode("utf-8", "backslashreplace").decode()
        return escape_formula(exact if self._exact else printable(text))


class _LineFeedStream:
    """Ends lines in a line feed. The writer thinks they end in CR LF, for it quotes only what ends a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> int:
        """Write a line that ends in CR LF."""
        return self._stream.write(f"{line[:-2]}\n")


def read_csv_rows(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the rows of a table that Assay wrote, or somebody else, with texts as they were before `escape_formula`.

    Raises:
        csv.Error: the table is malformed.
    """
    for row in csv.reader(lines, strict=True):
        yield [unescape_formula(cell) for cell in row]


def read_csv_dicts(lines: Iterable[str]) -> tuple[Sequence[str], Iterator[dict[str, str]]]:
    """Return the names of a table's columns and its rows by column; empty lines are left out.

    Cells that a row lacks are empty, and cells beyond the columns are left out.

    Raises:
        csv.Error: the table is malformed.
    """
    rows = read_csv_rows(lines)
    columns = next(rows, [])
    padded = (row + [""] * (len(columns) - len(row)) for row in rows if row)
    return columns, (dict(zip(columns, row, strict=False)) for row in padded)


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None


MAX_CLASSES_SHOWN = 30
"""Classes up to which texts, pages and figures show every class. Of more they show those that matter most;
JSON and CSV files always hold all."""
MAX_CLASSES_LISTED = 20
"""Classes, or pairs of classes, that are shown of more than `MAX_CLASSES_SHOWN`."""


def format_number(value: float | None, digits: int = 3) -> str:
    """Return a number with a fixed count of decimals, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def format_percent(share: float | None, digits: int = 1) -> str:
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


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for a Chinese character, none for an accent."""
    return sum(_char_width(letter) for letter in text)


def shorten(text: str, width: int) -> str:
    """Cut the middle out of a name wider than `width` columns of a terminal; both ends tell names apart."""
    text = printable(text)
    if display_width(text) <= width:
        return text
    head = _prefix(text, max(1, width // 2))
    tail = _prefix(text[::-1], width - 1 - display_width(head))[::-1]
    return f"{head}…{tail}"


def shorten_names(names: Sequence[str], width: int) -> list[str]:
    """Shorten names that stand together; where two would become the same, all are numbered from 1."""
    short = [shorten(name, width) for name in names]
    if len(set(short)) == len(short):
        return short
    digits = len(str(len(names)))
    return [f"{place:>{digits}} {shorten(name, width - digits - 1)}" for place, name in enumerate(names, start=1)]


def join_names(names: Sequence[str], most: int = 10) -> str:
    """Return names in one line; of many, the first and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def align_columns(rows: Sequence[Sequence[str]], *, gap: int = 2, right: bool = True) -> str:
    """Return rows of equal length as text: the first column to the left, the others to the right or left.

    Every cell is made safe to show, on one line.
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


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]], *, exact: bool = False) -> None:
    """Write a CSV file (RFC 4180, UTF-8, lines ending in a line feed); None is an empty cell.

    Args:
        path: the file.
        header: names of the columns.
        rows: one a line.
        exact: for tables that Assay reads back; others show unsafe characters as escapes (see `SafeCsvWriter`).
    """
    text = io.StringIO()
    writer = SafeCsvWriter(text, exact=exact)
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


def _prefix(text: str, width: int) -> str:
    """The longest beginning of a text that is at most `width` columns wide."""
    fitting = (text[:end] for end in range(len(text), 0, -1) if display_width(text[:end]) <= width)
    return next(fitting, "")


def _char_width(letter: str) -> int:
    if unicodedata.category(letter) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - display_width(text))
    return space + text if right else text + space
