"""Read tables of images: CSV with any separator and encoding, and JSON Lines.

Sources: RFC 4180 (2005); the `sep=` line and the encodings of Excel; Hugging Face's `metadata.jsonl`.
"""

import codecs
import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from assay.core.errors import AssayError
from assay.core.files import read_bytes
from assay.core.image_table_columns import COLUMN_NAMES, cell_text, is_missing, normalize_name, recognize_columns
from assay.core.printable_text import is_unicode
from assay.core.tables import unescape_formula
from assay.core.text_layout import counted

CSV_SUFFIXES: Final = frozenset({".csv", ".tsv", ".tab"})
JSON_LINES_SUFFIXES: Final = frozenset({".jsonl", ".ndjson"})

_MANIFEST_COLUMNS: Final = ("id", "path", "label", "split")
"""First columns of every manifest written by Assay."""
_WHOLE_NUMBER: Final = re.compile(r"([+-]?[0-9]+)(?:[.,]0*)?")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*)?")
_SEPARATORS: Final = (",", ";", "\t", "|")
_SEP_LINE: Final = re.compile(r"sep=(.)", re.IGNORECASE)
_MAX_LINES_NAMED: Final = 5
_NOT_WESTERN: Final = re.compile(
    r"(?<![^\W\d_])(?![\u2010-\u203a\u20ac\xa0\xab\xb0\xb1\xbb]+(?![^\x00-\x7f]))"
    r"(?!(.)\1+(?![^\x00-\x7f]))[^\x00-\x7f]{2,}(?![^\W\d_])|(?:\u0192.){2}"
)
"""A word of mixed foreign letters, as Shift-JIS, GBK or Windows-1251 appear when read as Windows-1252."""

Cells = dict[str, str]


class TableRow(NamedTuple):
    """One row: `line` counts from 1; `cells` maps the meaning of columns, or else their name, to values."""

    line: int
    cells: Cells


@dataclass
class ImageTable:
    """A table with interpreted columns and values."""

    path: Path
    columns: tuple[str, ...]
    """Column names in the table."""
    meaning: dict[str, str]
    """Their meanings: `path`, `label`, ...; other columns are absent."""
    rows: list[TableRow]
    literal: bool = False
    """Whether Assay wrote the table, so that all values are literal."""
    warnings: list[str] = field(default_factory=list)
    unit: str = "line"

    def column_name(self, column: str) -> str | None:
        """Return the table's name for a column, or None."""
        return next((name for name, meant in self.meaning.items() if meant == column), None)

    def location(self, row: TableRow) -> str:
        """Return table and line, for error messages."""
        return f"{self.path}, {self.unit} {row.line}"


def read_table(path: Path, *, literal: bool = False) -> ImageTable:
    """Read a table of images: JSON lines by suffix, otherwise CSV.

    With `literal`, or if the table starts like Assay's manifests, all values are literal. Raises `AssayError` if it
    cannot be read, two columns may be the path or the label, or a line is invalid.
    """
    text, warnings = _read_text(path)
    if path.suffix.casefold() in JSON_LINES_SUFFIXES:
        columns, rows = _parse_json_lines(text, path)
        table = interpret_table(path, columns, rows)
    else:
        table = _parse_csv(text, path, literal=literal)
    table.warnings = [*warnings, *table.warnings]
    return table


def table_columns(path: Path) -> list[str]:
    """Return the column names of a table (JSON lines by suffix, otherwise CSV); `AssayError` if it cannot be read."""
    text, _ = _read_text(path)
    if path.suffix.casefold() in JSON_LINES_SUFFIXES:
        return _parse_json_lines(text, path)[0]
    separator, skipped = _detect_separator(text)
    return _header_names(_drop_lines(text, skipped), separator)


def interpret_table(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[tuple[int, Mapping[str, Any]]],
    unit: str = "line",
    *,
    literal: bool = False,
) -> ImageTable:
    """Determine the meaning of each column, and clean the values.

    `rows` are row numbers, counted in `unit`, and values by column name: text, numbers, booleans or None. With
    `literal`, values are not interpreted. Raises `AssayError` as `read_table` does.
    """
    meaning = recognize_columns(path, columns)
    table = ImageTable(path, tuple(columns), meaning, [], literal, unit=unit)
    for line, cells in rows:
        row = TableRow(line, {})
        for name, value in cells.items():
            meant = meaning.get(name, name)
            if isinstance(value, list | dict) and name in meaning:
                kind = "a list" if isinstance(value, list) else "an object"
                raise AssayError(f"{table.location(row)}: {meant} is {kind}; give one text")
            text = value if isinstance(value, str) else cell_text(value)
            if name in meaning and not is_unicode(text):
                raise AssayError(f"{table.location(row)}: {meant} {text!r} is no Unicode text; correct it")
            row.cells[meant] = text
        table.rows.append(row)
    _refuse_missing(table, "path")
    _refuse_missing(table, "label")
    if not literal:
        _clean_labels(table)
        _clear_missing(table)
    return table


def _refuse_missing(table: ImageTable, column: str) -> None:
    if table.column_name(column) is None:
        return
    empty = [row for row in table.rows if not row.cells.get(column, "").strip()]
    lines = empty or ([] if table.literal else [row for row in table.rows if is_missing(row.cells[column])])
    if not lines:
        return
    more = f" and {len(lines) - _MAX_LINES_NAMED} more" if len(lines) > _MAX_LINES_NAMED else ""
    named = ", ".join(str(row.line) for row in lines[:_MAX_LINES_NAMED]) + more
    what = "empty" if empty else f"missing ({lines[0].cells[column].strip()})"
    plural = "s" if len(lines) > 1 else ""
    advice = f"fill it in or remove the {table.unit}{plural}"
    if column == "label" and not empty:
        advice += "; if it is a class, give that another name"
    raise AssayError(f"{table.path}, {table.unit}{plural} {named}: {column} is {what}; {advice}")


def _clean_labels(table: ImageTable) -> None:
    """Normalise labels: 1.0 to 1, TRUE to true, accents composed, surrounding spaces removed."""
    if table.column_name("label") is None:
        return
    labels = [unicodedata.normalize("NFC", row.cells["label"].strip()) for row in table.rows]
    plain = {label for label in labels if label.lstrip("+-").isdecimal()}
    numbers = [_WHOLE_NUMBER.fullmatch(label) for label in labels]
    # Beside 0.5, 1.0 is kept (it may be a version), unless the table also contains 1.
    if all(numbers) or (plain and all(map(_NUMBER.fullmatch, labels))):
        labels = [found[1] if found else label for label, found in zip(labels, numbers, strict=True)]
    elif all(label.casefold() in {"true", "false"} for label in labels):
        labels = [label.casefold() for label in labels]
    for row, label in zip(table.rows, labels, strict=True):
        row.cells["label"] = label


def _clear_missing(table: ImageTable) -> None:
    """Empty missing parts and groups; otherwise all images of the group `nan` would stay together."""
    columns = [name for name in ("split", "group", "source_label") if table.column_name(name) is not None]
    for row in table.rows if columns else ():
        for column in columns:
            if is_missing(row.cells.get(column, "")):
                row.cells.pop(column, None)


def _read_text(path: Path) -> tuple[str, list[str]]:
    """Return a file's text and warnings about its encoding."""
    try:
        data = read_bytes(path)
    except OSError as error:
        raise AssayError(f"manifest {path} cannot be read: {error.strerror or error}") from None
    marks = (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    )
    encoding = next((name for mark, name in marks if data.startswith(mark)), "") or _guess_encoding(data)
    try:
        return data.decode(encoding), []
    except UnicodeDecodeError as error:
        text = data.decode("utf-8", "surrogateescape") if encoding == "utf-8" else "\N{NO-BREAK SPACE}"
        if any(letter > "\x7f" and not "\udc80" <= letter <= "\udcff" for letter in text):
            name = encoding.removesuffix("-sig").upper()
            raise AssayError(f"manifest {path} is not {name} at byte {error.start}; save it as UTF-8") from None
    # No non-ASCII letter is valid UTF-8: probably the table of an older Windows program.
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise AssayError(
            f"manifest {path} is neither UTF-8 nor Windows-1252 at byte {error.start}; save it as UTF-8"
        ) from None
    if (odd := _NOT_WESTERN.search(text)) is not None:
        raise AssayError(
            f"manifest {path} is not UTF-8, nor the Windows-1252 of Western languages (a word would read "
            f"{odd[0]!r}); save it as UTF-8"
        )
    return text, [f"{path.name} is not UTF-8 and was read as Windows-1252; save it as UTF-8 if names look wrong"]


def _guess_encoding(data: bytes) -> str:
    """Return the encoding of a text without a byte order mark: in UTF-16 every other byte is zero."""
    head = data[: 4096 & ~1]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(data) % 2 == 0 and max(even, odd) > len(head) // 5 and min(even, odd) * 4 < max(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8"


def _parse_csv(text: str, path: Path, *, literal: bool) -> ImageTable:
    separator, skipped = (",", 0) if literal else _detect_separator(text)
    body = _drop_lines(text, skipped)
    literal = literal or (
        separator == "," and tuple(_header_names(body, ",")[: len(_MANIFEST_COLUMNS)]) == _MANIFEST_COLUMNS
    )
    # Spaces after a separator would otherwise hide quotes; Assay writes none, and names may start with them.
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator, strict=True, skipinitialspace=not literal)
    found: list[tuple[int, dict[str, str]]] = []
    line = skipped  # the last one of a complete row
    try:
        columns = next((values for values in reader if any(values)), [])
        while not literal and columns and not columns[-1].strip():
            columns.pop()
        names = [name if literal or name.strip() else f"column {place}" for place, name in enumerate(columns, 1)]
        line = reader.line_num + skipped
        for values in reader:
            line = reader.line_num + skipped
            if any(value.strip() for value in values):
                if len(values) != len(columns) and not recognize_columns(path, names):
                    raise AssayError(
                        f"{path}: no known column is named in the first line ({', '.join(names)}); it must "
                        "name the columns, as in path,label: remove what stands above them"
                    )
                cells = _fit_columns(values, len(columns), separator, f"{path}, line {line}")
                found.append((line, dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise AssayError(f"{path}, line {line + 1}: a quote is opened and never closed") from None
        raise AssayError(f"{path}, line {reader.line_num + skipped}: {error}") from None
    return interpret_table(path, names, found, literal=literal)


def _drop_lines(text: str, count: int) -> str:
    return text.split("\n", count)[count] if count and "\n" in text else text


def _detect_separator(text: str) -> tuple[str, int]:
    """Return the separator with which most columns are known, and the number of lines that declare it."""
    first = text.partition("\n")[0].strip('\r\n"')
    if (result := _SEP_LINE.fullmatch(first)) is not None:
        return result[1], 1
    known = {name for ranks in COLUMN_NAMES.values() for rank in ranks for name in rank}

    def fit(separator: str) -> tuple[int, int]:
        header = _header_names(text, separator)
        return sum(normalize_name(name) in known for name in header), len(header)

    return max(_SEPARATORS, key=fit), 0


def _header_names(text: str, separator: str) -> list[str]:
    """Return the names in the first line; empty if it cannot be parsed with this separator."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        return next((values for values in lines if any(values)), [])
    except csv.Error:
        return []


def _fit_columns(values: list[str], count: int, separator: str, where: str) -> list[str]:
    """Return one value per column, without empty trailing ones; `AssayError` if the number differs."""
    while len(values) > count and not values[-1].strip():
        values.pop()
    if len(values) != count:
        name = {",": "commas", ";": "semicolons", "\t": "tabs"}.get(separator, f"{separator!r}")
        found = f"{counted(len(values), 'value')} for {counted(count, 'column')}"
        raise AssayError(f"{where}: {found}; put quotes around values with {name}")
    return [unescape_formula(value) for value in values]


def _parse_json_lines(text: str, path: Path) -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    columns: dict[str, None] = {}
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line, object_pairs_hook=_reject_repeated_keys)
        except (ValueError, RecursionError) as error:
            raise AssayError(f"{path}, line {number}: it is no JSON ({error})") from None
        if not isinstance(values, dict):
            raise AssayError(f"{path}, line {number}: it must be a JSON object with file_name and label")
        columns.update(dict.fromkeys(values))
        rows.append((number, values))
    return list(columns), rows


def _reject_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name stands twice in it")
    return values
