"""Read and write CSV (safe against formula injection) and JSON, and format numbers and aligned columns."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from assay.core.files import write_text
from assay.core.printable_text import printable, printable_json

Cell = str | int | float | None

# Characters that spreadsheets ignore before a formula: spaces, control and invisible characters.
_SKIPPED = r"[\s\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
_FORMULA = re.compile(rf"'*(?:[\t\r\n]|{_SKIPPED}*[=+\-@\uff1d\uff0b\uff0d\uff20\u2212])")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


class CsvWriter(Protocol):
    """Type of `csv.writer`."""

    def writerow(self, row: Iterable[object], /) -> object:
        """Write one row."""

    def writerows(self, rows: Iterable[Iterable[object]], /) -> None:
        """Write rows."""


def escape_formula(text: str) -> str:
    """Prefix a cell with an apostrophe if a spreadsheet would evaluate it as a formula.

    Plain numbers are unchanged. A text that already has apostrophes before a formula gets one more, so that
    `unescape_formula` restores it exactly.

    Source: OWASP, "CSV Injection" (2023).
    """
    return f"'{text}" if _is_formula(text) else text


def unescape_formula(cell: str) -> str:
    """Undo `escape_formula`; other cells are unchanged."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


class SafeCsvWriter:
    """Writes CSV rows with `escape_formula` applied to texts and lines ending in a line feed."""

    def __init__(self, stream: TextIO, *, exact: bool = False) -> None:
        """Create a writer on a stream opened with `newline=""`.

        With `exact` every character is kept, for tables that Assay reads back; otherwise unsafe characters are escaped
        (see `printable`).
        """
        self._table: CsvWriter = csv.writer(_LineFeedStream(stream), lineterminator="\r\n")
        self._exact = exact

    def writerow(self, row: Iterable[object]) -> None:
        """Write one row; None is an empty cell, and numbers are unchanged."""
        self._table.writerow([self._cell(cell) if isinstance(cell, str) else cell for cell in row])

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Write rows."""
        for row in rows:
            self.writerow(row)

    def _cell(self, text: str) -> str:
        if not text or (text[0].isalnum() and text.isascii() and text.isprintable()):
            return text  # fast path for most cells
        # Lone surrogates cannot be encoded as UTF-8.
        exact = text.encode("utf-8", "backslashreplace").decode()
        return escape_formula(exact if self._exact else printable(text))


class _LineFeedStream:
    """Replaces CR LF by a line feed; with CR LF as terminator the writer quotes both characters in cells."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> int:
        return self._stream.write(f"{line[:-2]}\n")


def read_csv_rows(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the rows of a CSV table, with `unescape_formula` applied; `csv.Error` if it is malformed."""
    for row in csv.reader(lines, strict=True):
        yield [unescape_formula(cell) for cell in row]


def read_csv_dicts(lines: Iterable[str]) -> tuple[Sequence[str], Iterator[dict[str, str]]]:
    """Return the columns of a CSV table and its rows by column, without empty lines.

    Missing cells are empty, and extra cells are ignored. Raises `csv.Error` if the table is malformed.
    """
    rows = read_csv_rows(lines)
    columns = next(rows, [])
    padded = (row + [""] * (len(columns) - len(row)) for row in rows if row)
    return columns, (dict(zip(columns, row, strict=False)) for row in padded)


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None


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


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]], *, exact: bool = False) -> None:
    """Write a CSV file (RFC 4180, UTF-8, lines ending in LF); None is an empty cell. `exact`: see `SafeCsvWriter`."""
    text = io.StringIO()
    writer = SafeCsvWriter(text, exact=exact)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_rows(path: Path, rows: Sequence[Mapping[str, Cell]]) -> None:
    """Write one or more rows with the same keys as a CSV file; the keys are the names of the columns."""
    write_csv(path, list(rows[0]), [list(row.values()) for row in rows])


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, with unsafe characters escaped; `ValueError` for a number that is not finite."""
    text = printable_json(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))
    write_text(path, text + "\n")


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
