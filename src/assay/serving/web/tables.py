"""Tables of photos as CSV: read with a sentence for what is wrong, written whole or not at all.

Knows nothing of what the columns mean.
"""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from assay import photo_tables
from assay.errors import AssayError, UsageError
from assay.files import write_text
from assay.safe_csv import SafeWriter
from assay.table_paths import table_path

Row = dict[str, str]


def read_table(path: Path, needed: Sequence[str], *, own: bool = False) -> list[Row]:
    """Return the rows of a table that has at least the columns `needed`, `path` among them.

    Args:
        path: the table, in any form that training reads but Parquet.
        needed: columns, by the names that training gives them.
        own: take every value literally: the server wrote it.

    Returns:
        Rows by the table's own columns and by those needed; paths are absolute.

    Raises:
        UsageError: it cannot be read, or lacks a column.
    """
    folder = path.absolute().parent
    try:
        table = photo_tables.read_table(path, own=own)
        if missing := [name for name in needed if table.called(name) is None]:
            raise UsageError(f"{path} has no column {' or '.join(missing)}: give the table of another run")
        places = [
            folder / row.cells["path"]
            if table.own
            else table_path(folder, row.cells["path"], table.where(row))
            for row in table.rows
        ]
    except AssayError as error:
        raise UsageError(str(error)) from None
    # Columns that are needed get the names they are needed by.
    names = {
        name: meant if (meant := table.meaning.get(name, name)) in needed else name for name in table.columns
    }
    return [
        {
            **{names[name]: row.cells.get(table.meaning.get(name, name), "") for name in table.columns},
            "path": os.path.normpath(place),
        }
        for row, place in zip(table.rows, places, strict=True)
    ]


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write rows as CSV; what a row has besides the columns is left out."""
    text = io.StringIO()
    writer = SafeWriter(text, exact=True)
    writer.writerow(columns)
    writer.writerows([row.get(name, "") for name in columns] for row in rows)
    write_text(path, text.getvalue())
