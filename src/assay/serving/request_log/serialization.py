"""Convert request records to and from documents, JSON lines and table rows, and export them to files."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from assay.core.errors import UsageError
from assay.core.files import atomic_write
from assay.core.tables import SafeCsvWriter
from assay.serving.request_record import ImageMetadata, RequestRecord

Document = dict[str, Any]


def to_milliseconds(moment: datetime) -> datetime:
    """Return a moment in UTC, cut to whole milliseconds: what every database can keep."""
    utc = moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def to_document(record: RequestRecord) -> Document:
    """Return a record as MongoDB keeps it; `_id` is the record's own id."""
    image = record.image
    return {
        "_id": record.id,
        "request_id": _valid_text(record.request_id),
        "timestamp": to_milliseconds(record.timestamp),
        "client_id": _valid_text(record.client_id),
        "image_metadata": image and image.to_dict(),
        "classification": {
            "result": record.result and _valid_text(record.result),
            "confidence": record.confidence,
        },
        "performance": {
            "processing_time": record.processing_time,
            "model_version": record.model_version,
        },
        "unknown": record.unknown,
        "model": _valid_text(record.model),
        "cache_hit": record.cache_hit,
        "status": record.status,
        "error": record.error and _valid_text(record.error),
    }


def from_document(stored: Mapping[str, Any]) -> RequestRecord:
    """Return the record that a document holds.

    Raises:
        KeyError, TypeError, ValueError: it holds none.
    """
    image, answer, performance = stored["image_metadata"], stored["classification"], stored["performance"]
    return RequestRecord(
        id=stored["_id"],
        request_id=stored["request_id"],
        timestamp=stored["timestamp"].astimezone(UTC),
        client_id=stored["client_id"],
        image=image and ImageMetadata.from_dict(image),
        result=answer["result"],
        confidence=answer["confidence"],
        unknown=stored["unknown"],
        processing_time=performance["processing_time"],
        model=stored["model"],
        model_version=performance["model_version"],
        cache_hit=stored["cache_hit"],
        status=stored["status"],
        error=stored["error"],
    )


def to_json_line(record: RequestRecord) -> str:
    """Return a record as one line of JSON, without its line feed."""
    values = to_document(record)
    values["timestamp"] = values["timestamp"].isoformat(timespec="milliseconds")
    return json.dumps(values, separators=(",", ":"))


def from_json_line(line: str | bytes) -> RequestRecord:
    """Return the record of a line that `to_json_line` made.

    Raises:
        KeyError, TypeError, ValueError: the line is torn or holds something else.
    """
    values = json.loads(line)
    values["timestamp"] = datetime.fromisoformat(values["timestamp"])
    return from_document(values)


def _valid_text(text: str) -> str:
    """Replace what is no Unicode text (lone surrogates): databases refuse it."""
    return text.encode("utf-8", "replace").decode()


COLUMNS: Final = (
    "id",
    "request_id",
    "timestamp",
    "client_id",
    "size",
    "format",
    "width",
    "height",
    "result",
    "confidence",
    "unknown",
    "processing_time",
    "model",
    "model_version",
    "cache_hit",
    "status",
    "error",
)
"""`timestamp` is in milliseconds since 1970, UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def epoch_milliseconds(moment: datetime) -> int:
    """Return a moment as milliseconds since 1970, UTC; parts of one are cut off."""
    return (moment - _EPOCH) // _MILLISECOND


def to_row(record: RequestRecord) -> tuple[Any, ...]:
    """Return a record's values in the order of `COLUMNS`."""
    kept = to_document(record)
    image = kept["image_metadata"] or {"size": None, "format": None, "dimensions": None}
    answer = kept["classification"]
    return (
        kept["_id"],
        kept["request_id"],
        epoch_milliseconds(kept["timestamp"]),
        kept["client_id"],
        image["size"],
        image["format"],
        *(image["dimensions"] or (None, None)),
        answer["result"],
        answer["confidence"],
        kept["unknown"],
        kept["performance"]["processing_time"],
        kept["model"],
        kept["performance"]["model_version"],
        kept["cache_hit"],
        kept["status"],
        kept["error"],
    )


def from_row(values: Sequence[Any]) -> RequestRecord:
    """Return the record of a row in the order of `COLUMNS`; truth may be 0 and 1."""
    one = dict(zip(COLUMNS, values, strict=True))
    dimensions = None if one["width"] is None else (one["width"], one["height"])
    return RequestRecord(
        id=one["id"],
        request_id=one["request_id"],
        timestamp=_EPOCH + one["timestamp"] * _MILLISECOND,
        client_id=one["client_id"],
        image=None if one["size"] is None else ImageMetadata(one["size"], one["format"], dimensions),
        result=one["result"],
        confidence=one["confidence"],
        unknown=None if one["unknown"] is None else bool(one["unknown"]),
        processing_time=one["processing_time"],
        model=one["model"],
        model_version=one["model_version"],
        cache_hit=bool(one["cache_hit"]),
        status=one["status"],
        error=one["error"],
    )


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
