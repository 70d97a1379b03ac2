"""Export request records to CSV, JSON lines or Parquet."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from assay.core.errors import UsageError
from assay.core.files import atomic_write
from assay.core.tables import SafeCsvWriter
from assay.serving.request_log.serialization import COLUMNS, to_json_line, to_milliseconds, to_row
from assay.serving.request_record import RequestRecord

_PAGE_RECORDS: Final = 10_000  # records in memory, and in one row group of Parquet
_TIMESTAMP_COLUMN: Final = COLUMNS.index("timestamp")

WriteRecords = Callable[[Sequence[RequestRecord]], None]


async def export_records(records: AsyncIterator[RequestRecord], path: Path) -> int:
    """Write records to a file, in the form that its suffix names.

    Args:
        records: in the order of the rows.
        path: .csv, .jsonl or .parquet.

    Returns:
        The number of records.

    Raises:
        UsageError: the suffix is another one.
    """
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"{path}: a journal is written as .csv, .jsonl or .parquet; name such a file")
    count = 0
    with atomic_write(path) as temporary, form(temporary) as write:
        page: list[RequestRecord] = []
        async for record in records:
            page.append(record)
            if len(page) == _PAGE_RECORDS:
                write(page)
                count += len(page)
                page = []
        write(page)
        count += len(page)
    return count


@contextmanager
def _csv(path: Path) -> Iterator[WriteRecords]:
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = SafeCsvWriter(stream)
        table.writerow(COLUMNS)

        def write(records: Sequence[RequestRecord]) -> None:
            for record in records:
                values = list(to_row(record))
                values[_TIMESTAMP_COLUMN] = to_milliseconds(record.timestamp).isoformat(timespec="milliseconds")
                table.writerow([int(value) if isinstance(value, bool) else value for value in values])

        yield write


@contextmanager
def _jsonl(path: Path) -> Iterator[WriteRecords]:
    with path.open("w", encoding="utf-8", newline="") as stream:

        def write(records: Sequence[RequestRecord]) -> None:
            stream.writelines(f"{to_json_line(record)}\n" for record in records)

        yield write


@contextmanager
def _parquet(path: Path) -> Iterator[WriteRecords]:
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

        def write(records: Sequence[RequestRecord]) -> None:
            columns = zip(*map(to_row, records), strict=True) if records else [()] * len(COLUMNS)
            arrays = [pa.array(values, kind.type) for values, kind in zip(columns, schema, strict=True)]
            table.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield write


_FORMATS: Final[dict[str, Callable[[Path], AbstractContextManager[WriteRecords]]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
