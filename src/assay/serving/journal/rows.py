"""A record as a flat row: SQLite's columns, and those of exported tables."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from assay.serving.journal.documents import document
from assay.serving.record import ImageFacts, Record

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


def since_epoch(moment: datetime) -> int:
    """Return a moment as milliseconds since 1970, UTC; parts of one are cut off."""
    return (moment - _EPOCH) // _MILLISECOND


def row(record: Record) -> tuple[Any, ...]:
    """Return a record's values in the order of `COLUMNS`."""
    kept = document(record)
    image = kept["image_metadata"] or {"size": None, "format": None, "dimensions": None}
    answer = kept["classification"]
    return (
        kept["_id"],
        kept["request_id"],
        since_epoch(kept["timestamp"]),
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


def record_of_row(values: Sequence[Any]) -> Record:
    """Return the record of a row in the order of `COLUMNS`; truth may be 0 and 1."""
    one = dict(zip(COLUMNS, values, strict=True))
    dimensions = None if one["width"] is None else (one["width"], one["height"])
    return Record(
        id=one["id"],
        request_id=one["request_id"],
        timestamp=_EPOCH + one["timestamp"] * _MILLISECOND,
        client_id=one["client_id"],
        image=None if one["size"] is None else ImageFacts(one["size"], one["format"], dimensions),
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
