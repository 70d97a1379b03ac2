"""Answers as rows of plain values, and the tables they become: JSON lines, CSV or Parquet.

Knows nothing of models or of how the answers came about; rows stream through, however many there are.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from assay.errors import UsageError
from assay.files import require_file
from assay.inference.prediction import Failure, Prediction
from assay.safe_csv import SafeWriter

Row = dict[str, Any]
"""`Prediction.to_dict` or `Failure.to_dict`, with a path that any file can hold."""

_GROUP: Final = 4096
"""Rows that are held in memory for one group of a Parquet file."""

_ANSWER: Final = ("label", "confidence", "error")
_DOUBTS: Final = ("unknown", "reason", "novelty")

Names = Sequence[str]


def unicode_path(path: str) -> str:
    r"""Return a path that can be written as UTF-8: a byte that is none stands as `\xe9`.

    On Linux a file's name may hold any bytes. Other names, which is nearly all, come back as they are.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def to_row(answer: Prediction | Failure) -> Row:
    """Return an answer as plain values, ready for any file."""
    values = answer.to_dict()
    if answer.source is not None:
        values["source"] = unicode_path(answer.source)
    return values


def to_line(row: Row) -> str:
    """Return a row as one line of JSON, without its end."""
    return json.dumps(row, ensure_ascii=False)


def check_format(path: Path) -> None:
    """Refuse, before any work, a file that could not be written at its end.

    Raises:
        UsageError: the name ends in no known way, or a folder, a pipe or a device lies there.
        ModuleNotFoundError: Parquet without pyarrow.
    """
    if path.suffix.lower() not in _WRITERS:
        raise UsageError(f"{path} has no known ending: let it end in {', '.join(_WRITERS)}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file")
    require_file(path)
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet  # noqa: F401, PLC0415 - large, and needed for this one format


def write_rows(
    path: Path, rows: Iterable[Row], classes: Sequence[str], *, limits: bool = True, suffix: str
) -> None:
    """Write a table, one row a photo; a photo that could not be read has its reason in `error`.

    JSON lines hold the rows as they are. CSV and Parquet have the columns path, label, confidence, error,
    with `limits` unknown, reason, novelty, and the probability of each class as `p_` and its name; all
    fractions have six digits in CSV. What is not known is empty.

    Args:
        path: the file, which is written over.
        rows: as `to_row` gives them; read once.
        classes: their order in the table.
        limits: whether it was asked which photos are unknown.
        suffix: .jsonl, .csv or .parquet.
    """
    names = (*_ANSWER, *(_DOUBTS if limits else ()))
    _WRITERS[suffix.lower()](path, rows, names, classes)


def _write_jsonl(path: Path, rows: Iterable[Row], _: Names, __: Names) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(to_line(row) + "\n" for row in rows)


def _write_csv(path: Path, rows: Iterable[Row], names: Names, classes: Names) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = SafeWriter(stream)
        table.writerow(_columns(names, classes))
        table.writerows([_text(cell) for cell in _cells(row, names, classes)] for row in rows)


def _write_parquet(path: Path, rows: Iterable[Row], names: Names, classes: Names) -> None:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    kinds = dict.fromkeys(_columns(names, classes), pa.float64())
    kinds |= dict.fromkeys({"path", "label", "reason", "error"} & kinds.keys(), pa.string())
    kinds |= dict.fromkeys({"unknown"} & kinds.keys(), pa.bool_())
    schema = pa.schema(list(kinds.items()))
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(rows):
            columns = zip(*(_cells(row, names, classes) for row in group), strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


_WRITERS: Final[dict[str, Callable[[Path, Iterable[Row], Names, Names], None]]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}


def _columns(names: Names, classes: Names) -> list[str]:
    return ["path", *names, *(f"p_{name}" for name in classes)]


def _cells(row: Row, names: Names, classes: Names) -> list[Any]:
    shares = row.get("probabilities", {})
    return [row["source"], *(row.get(name) for name in names), *(shares.get(name) for name in classes)]


def _text(cell: object) -> object:
    if isinstance(cell, bool):
        return int(cell)
    return f"{cell:.6f}" if isinstance(cell, float) else cell


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    stream = iter(rows)
    while group := list(islice(stream, _GROUP)):
        yield group
