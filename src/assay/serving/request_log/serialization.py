"""Convert request records to and from documents, JSON lines and table rows."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

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
