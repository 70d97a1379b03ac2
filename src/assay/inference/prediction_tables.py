"""Write predictions as JSON lines, CSV or Parquet."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from assay.core.errors import UsageError
from assay.core.files import require_regular_file
from assay.core.tables import SafeCsvWriter
from assay.inference.prediction import Failure, Prediction

PredictionRow = dict[str, Any]
"""`Prediction.to_dict` or `Failure.to_dict`, with a path that can be encoded as UTF-8."""

_PARQUET_GROUP_ROWS: Final = 4096
"""Rows per row group of a Parquet file."""

_PREDICTION_COLUMNS: Final = ("label", "confidence", "error")
_ABSTENTION_COLUMNS: Final = ("unknown", "reason", "novelty")

Names = Sequence[str]


def unicode_path(path: str) -> str:
    r"""Return a path that can be encoded as UTF-8; other bytes, which Linux allows, are escaped as `\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def prediction_row(prediction: Prediction | Failure) -> PredictionRow:
    """Return a prediction or failure as plain values for any file format."""
    values = prediction.to_dict()
    if prediction.source is not None:
        values["source"] = unicode_path(prediction.source)
    return values


def json_line(row: PredictionRow) -> str:
    """Return a row as a JSON line without the line feed."""
    return json.dumps(row, ensure_ascii=False)


def check_output_path(path: Path) -> None:
    """Check an output path before any work is done.

    Raises:
        UsageError: the suffix is unknown, or the path is a folder, a pipe or a device.
        ModuleNotFoundError: Parquet without pyarrow.
    """
    if path.suffix.lower() not in _WRITERS:
        raise UsageError(f"{path} has an unknown suffix: use {', '.join(_WRITERS)}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file")
    require_regular_file(path)
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet  # noqa: F401, PLC0415 - large, and needed for this format only


def write_predictions(
    path: Path, rows: Iterable[PredictionRow], classes: Sequence[str], *, abstention: bool = True, suffix: str
) -> None:
    """Write a table with one row per image; `rows` is consumed once.

    JSON lines contain the rows unchanged. CSV and Parquet have the columns path, label, confidence, error, with
    `abstention` also unknown, reason and novelty, and the probability of each class as `p_` and its name. CSV has
    six decimals; missing values are empty. `suffix` is .jsonl, .csv or .parquet.
    """
    names = (*_PREDICTION_COLUMNS, *(_ABSTENTION_COLUMNS if abstention else ()))
    _WRITERS[suffix.lower()](path, rows, names, classes)


def _write_jsonl(path: Path, rows: Iterable[PredictionRow], _: Names, __: Names) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(json_line(row) + "\n" for row in rows)


def _write_csv(path: Path, rows: Iterable[PredictionRow], names: Names, classes: Names) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = SafeCsvWriter(stream)
        table.writerow(_columns(names, classes))
        table.writerows([_format_cell(cell) for cell in _cells(row, names, classes)] for row in rows)


def _write_parquet(path: Path, rows: Iterable[PredictionRow], names: Names, classes: Names) -> None:
    from pyarrow import parquet  # noqa: PLC0415

    with parquet.ParquetWriter(path, _schema(names, classes)) as writer:
        for group in _groups(rows):
            writer.write_table(_arrow_table(group, names, classes))


def arrow_table(rows: Sequence[PredictionRow], classes: Sequence[str], *, abstention: bool) -> Any:
    """Return rows as a `pyarrow.Table` with the columns of the Parquet files that `write_predictions` writes."""
    return _arrow_table(rows, (*_PREDICTION_COLUMNS, *(_ABSTENTION_COLUMNS if abstention else ())), classes)


def _arrow_table(rows: Sequence[PredictionRow], names: Names, classes: Names) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    schema = _schema(names, classes)
    columns = zip(*(_cells(row, names, classes) for row in rows), strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _schema(names: Names, classes: Names) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    kinds = dict.fromkeys(_columns(names, classes), pa.float64())
    kinds |= dict.fromkeys({"path", "label", "reason", "error"} & kinds.keys(), pa.string())
    kinds |= dict.fromkeys({"unknown"} & kinds.keys(), pa.bool_())
    return pa.schema(list(kinds.items()))


_WRITERS: Final[dict[str, Callable[[Path, Iterable[PredictionRow], Names, Names], None]]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}


def _columns(names: Names, classes: Names) -> list[str]:
    return ["path", *names, *(f"p_{name}" for name in classes)]


def _cells(row: PredictionRow, names: Names, classes: Names) -> list[Any]:
    shares = row.get("probabilities", {})
    return [row["source"], *(row.get(name) for name in names), *(shares.get(name) for name in classes)]


def _format_cell(cell: object) -> object:
    if isinstance(cell, bool):
        return int(cell)
    return f"{cell:.6f}" if isinstance(cell, float) else cell


def _groups(rows: Iterable[PredictionRow]) -> Iterator[list[PredictionRow]]:
    stream = iter(rows)
    while group := list(islice(stream, _PARQUET_GROUP_ROWS)):
        yield group
