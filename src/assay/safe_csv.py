r"""CSV whose cells no spreadsheet program takes for formulas; the one way in which Assay reads and writes it.

A text cell that begins like a formula (`=`, `+`, `-` or `@`, also in their full-width forms, and after blanks
or invisible characters) or with a tab or a line break is written with an apostrophe before it: a photo called
`=1+1.jpg` stands as `'=1+1.jpg`. Numbers stay as they are, and so do texts that are plain numbers (`-1`,
`+0.5`, `-1e-05`). A text that already begins with apostrophes before such a sign gets one more, so that
reading, which takes one away again, gives back the very same text.

Source: OWASP, "CSV Injection" (2023); RFC 4180 (2005) for the format.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TextIO

from assay.text import printable

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


def protect(text: str) -> str:
    """Return a cell as it is written: with an apostrophe before what a spreadsheet would run."""
    return f"'{text}" if _is_formula(text) else text


def restore(cell: str) -> str:
    """Return the text that `protect` was given; other cells come back as they are."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


class SafeWriter:
    """Writes rows whose texts are protected. Lines end in a line feed."""

    def __init__(self, stream: TextIO, *, exact: bool = False) -> None:
        r"""Choose the stream.

        Args:
            stream: opened with `newline=""`.
            exact: for tables that Assay reads back: texts keep every character. Tables for people show unsafe
                characters (escape sequences, line breaks, marks that turn the text) as `\x1b`.
        """
        self._table: CsvWriter = csv.writer(_LineFeeds(stream), lineterminator="\r\n")
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
        return protect(exact if self._exact else printable(text))


class _LineFeeds:
    """Ends lines in a line feed. The writer thinks they end in CR LF, for it quotes only what ends a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> int:
        """Write a line that ends in CR LF."""
        return self._stream.write(f"{line[:-2]}\n")


def read_rows(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the rows of a table that Assay wrote, or somebody else, with texts as they were before `protect`.

    Raises:
        csv.Error: the table is malformed.
    """
    for row in csv.reader(lines, strict=True):
        yield [restore(cell) for cell in row]


def read_dicts(lines: Iterable[str]) -> tuple[Sequence[str], Iterator[dict[str, str]]]:
    """Return the names of a table's columns and its rows by column; empty lines are left out.

    Cells that a row lacks are empty, and cells beyond the columns are left out.

    Raises:
        csv.Error: the table is malformed.
    """
    rows = read_rows(lines)
    columns = next(rows, [])
    padded = (row + [""] * (len(columns) - len(row)) for row in rows if row)
    return columns, (dict(zip(columns, row, strict=False)) for row in padded)


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None
