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
    """Return a time in UTC, truncated to milliseconds, which every database can store."""
    utc = moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def to_document(record: RequestRecord) -> Document:
    """Return a record as a document, as MongoDB, the spool and `assay request-log --json` have it.

    `timestamp`, `client_id`, `image_metadata`, `classification` and `performance` are the published schema of the
    collection `request_logs`; dashboards and shard keys depend on these names. `_id` is the record's own id.
    """
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
        "region": record.region,
    }


def from_document(stored: Mapping[str, Any]) -> RequestRecord:
    """Return the record of a document; raise `KeyError`, `TypeError` or `ValueError` if it is invalid."""
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
        region=stored.get("region"),  # absent from documents of version 0.2.0
    )


def to_json_line(record: RequestRecord) -> str:
    """Return a record as one line of JSON, without line feed."""
    values = to_document(record)
    values["timestamp"] = values["timestamp"].isoformat(timespec="milliseconds")
    return json.dumps(values, separators=(",", ":"))


def from_json_line(line: str | bytes) -> RequestRecord:
    """Return the record of a line of `to_json_line`; raise `KeyError`, `TypeError` or `ValueError` if it is invalid."""
    values = json.loads(line)
    values["timestamp"] = datetime.fromisoformat(values["timestamp"])
    return from_document(values)


def _valid_text(text: str) -> str:
    """Replace lone surrogates, which databases reject."""
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
    "region",
)
"""`timestamp` is in milliseconds since 1970, UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def epoch_milliseconds(moment: datetime) -> int:
    """Return a time as milliseconds since 1970, UTC, truncated."""
    return (moment - _EPOCH) // _MILLISECOND


def to_row(record: RequestRecord) -> tuple[Any, ...]:
    """Return a record's values in the order of `COLUMNS`: its document, flattened."""
    document = to_document(record)
    image = document["image_metadata"] or {"size": None, "format": None, "dimensions": None}
    width, height = image["dimensions"] or (None, None)
    flat = {
        **document,
        **document["classification"],
        **document["performance"],
        **image,
        "id": document["_id"],
        "timestamp": epoch_milliseconds(document["timestamp"]),
        "width": width,
        "height": height,
    }
    return tuple(flat[name] for name in COLUMNS)


def from_row(values: Sequence[Any]) -> RequestRecord:
    """Return the record of a row in the order of `COLUMNS`; booleans may be 0 and 1."""
    row = dict(zip(COLUMNS, values, strict=True))
    dimensions = None if row["width"] is None else (row["width"], row["height"])
    image = None if row["size"] is None else {**row, "dimensions": dimensions}
    return from_document(
        {
            **row,
            "_id": row["id"],
            "timestamp": _EPOCH + row["timestamp"] * _MILLISECOND,
            "image_metadata": image,
            "classification": row,
            "performance": row,
            "unknown": None if row["unknown"] is None else bool(row["unknown"]),
            "cache_hit": bool(row["cache_hit"]),
        }
    )


_PAGE_RECORDS: Final = 10_000  # records in memory, and in one row group of Parquet
_TIMESTAMP_COLUMN: Final = COLUMNS.index("timestamp")

WriteRecords = Callable[[Sequence[RequestRecord]], None]


async def export_records(records: AsyncIterator[RequestRecord], path: Path) -> int:
    """Write records to a .csv, .jsonl or .parquet file atomically, in pages; return their number.

    Raises:
        UsageError: the suffix is a different one.
    """
    open_writer = _FORMATS.get(path.suffix.lower())
    if open_writer is None:
        raise UsageError(f"{path}: the request log is exported as .csv, .jsonl or .parquet")
    count = 0
    with atomic_write(path) as temporary, open_writer(temporary) as write:
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
