"""Read and write tables of photos and labels."""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from assay.core import image_table_reader
from assay.core.errors import AssayError, UsageError
from assay.core.files import write_text
from assay.core.image_table_columns import resolve_table_path
from assay.core.tables import SafeCsvWriter

Row = dict[str, str]


def read_label_table(path: Path, needed: Sequence[str], *, literal: bool = False) -> list[Row]:
    """Return the rows of a table that has at least the columns `needed`, including `path`; paths become absolute.

    All formats of training manifests but Parquet are supported; `needed` uses their column names, and rows have both
    the table's own columns and those needed. With `literal`, values are not converted: the server wrote the file.

    Raises:
        UsageError: it cannot be read, or lacks a column.
    """
    folder = path.absolute().parent
    try:
        table = image_table_reader.read_table(path, literal=literal)
        if missing := [name for name in needed if table.column_name(name) is None]:
            raise UsageError(f"{path} has no column {' or '.join(missing)}: correct it, or give another table")
        places = [
            folder / row.cells["path"]
            if table.literal
            else resolve_table_path(folder, row.cells["path"], table.location(row))
            for row in table.rows
        ]
    except AssayError as error:
        raise UsageError(str(error)) from None
    # Columns that are needed get the names they are needed by.
    names = {name: meant if (meant := table.meaning.get(name, name)) in needed else name for name in table.columns}
    return [
        {
            **{names[name]: row.cells.get(table.meaning.get(name, name), "") for name in table.columns},
            "path": os.path.normpath(place),
        }
        for row, place in zip(table.rows, places, strict=True)
    ]


def write_label_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write the given columns of rows as CSV."""
    text = io.StringIO()
    writer = SafeCsvWriter(text, exact=True)
    writer.writerow(columns)
    writer.writerows([row.get(name, "") for name in columns] for row in rows)
    write_text(path, text.getvalue())
