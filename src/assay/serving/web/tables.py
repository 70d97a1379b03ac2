"""Tables of photos as CSV: read with a sentence for what is wrong, written whole or not at all.

Knows nothing of what the columns mean.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from assay.errors import UsageError
from assay.files import write_text
from assay.safe_csv import SafeWriter, read_dicts

Row = dict[str, str]


def read_table(path: Path, needed: Sequence[str]) -> list[Row]:
    """Return the rows of a CSV file that has at least the columns `needed`.

    Raises:
        UsageError: it cannot be read, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            columns, rows = read_dicts(stream)
            missing = [name for name in needed if name not in columns]
            if missing:
                raise UsageError(
                    f"{path} has no column {' or '.join(missing)}: give the table of another run"
                )
            return list(rows)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no table of photos: {error}") from None


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write rows as CSV; what a row has besides the columns is left out."""
    text = io.StringIO()
    writer = SafeWriter(text, exact=True)
    writer.writerow(columns)
    writer.writerows([row.get(name, "") for name in columns] for row in rows)
    write_text(path, text.getvalue())
