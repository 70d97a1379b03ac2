"""Read and write CSV files (safe against formula injection), and write JSON files."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def write_json(path: Path, value: Any, mode: int | None = None) -> None:
    """Write indented JSON, with unsafe characters escaped; `ValueError` for a number that is not finite.

    `mode`: permissions, as for `atomic_write`.
    """
    text = printable_json(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))
    write_text(path, text + "\n", mode)
