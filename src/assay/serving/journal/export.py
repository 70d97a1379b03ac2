"""Records as a table in a file: CSV, JSON lines or Parquet.

Written whole or not at all, in pages, so that a journal of any length fits in memory.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from assay.errors import UsageError
from assay.files import replacing
from assay.safe_csv import SafeWriter
from assay.serving.journal.documents import dump_line, milliseconds
from assay.serving.journal.rows import COLUMNS, row
from assay.serving.record import Record

_PAGE: Final = 10_000  # records in memory, and in one row group of Parquet
_TIME: Final = COLUMNS.index("timestamp")

Write = Callable[[Sequence[Record]], None]


async def export(records: AsyncIterator[Record], path: Path) -> int:
    """Write records to a file, in the form that its suffix names.

    Args:
        records: in the order of the rows.
        path: .csv, .jsonl or .parquet.

    Returns:
        The number of records.

    Raises:
        UsageError: the suffix is another one.
    """
    form = _FORMS.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"{path}: a journal is written as .csv, .jsonl or .parquet; name such a file")
    count = 0
    with replacing(path) as temporary, form(temporary) as write:
        page: list[Record] = []
        async for record in records:
            page.append(record)
            if len(page) == _PAGE:
                write(page)
                count += len(page)
                page = []
        write(page)
        count += len(page)
    return count


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = SafeWriter(stream)
        table.writerow(COLUMNS)

        def write(records: Sequence[Record]) -> None:
            for record in records:
                values = list(row(record))
                values[_TIME] = milliseconds(record.timestamp).isoformat(timespec="milliseconds")
                table.writerow([int(value) if isinstance(value, bool) else value for value in values])

        yield write


@contextmanager
def _jsonl(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as stream:

        def write(records: Sequence[Record]) -> None:
            stream.writelines(f"{dump_line(record)}\n" for record in records)

        yield write


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    import pyarrow as pa  # noqa: PLC0415 - takes a while, and the server has no use for it
    import pyarrow.parquet as pq  # noqa: PLC0415

    kinds = {
        "timestamp": pa.timestamp("ms", tz="UTC"),
        "size": pa.int64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "confidence": pa.float64(),
        "unknown": pa.bool_(),
        "processing_time": pa.float64(),
        "cache_hit": pa.bool_(),
        "status": pa.int16(),
    }
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    with pq.ParquetWriter(path, schema, compression="zstd") as table:

        def write(records: Sequence[Record]) -> None:
            columns = zip(*map(row, records), strict=True) if records else [()] * len(COLUMNS)
            arrays = [pa.array(values, kind.type) for values, kind in zip(columns, schema, strict=True)]
            table.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield write


_FORMS: Final[dict[str, Callable[[Path], AbstractContextManager[Write]]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
