"""A record as a document: what MongoDB stores, a spool's line holds, and `assay journal --json` prints.

`timestamp`, `client_id`, `image_metadata`, `classification` and `performance` are the published schema of the
collection `request_logs`; the other fields are Assay's own.

Its shape is part of the interface: dashboards and shard keys name its fields.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from assay.serving.record import ImageFacts, Record

Document = dict[str, Any]


def milliseconds(moment: datetime) -> datetime:
    """Return a moment in UTC, cut to whole milliseconds: what every database can keep."""
    utc = moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def document(record: Record) -> Document:
    """Return a record as MongoDB keeps it; `_id` is the record's own id."""
    image = record.image
    return {
        "_id": record.id,
        "request_id": _text(record.request_id),
        "timestamp": milliseconds(record.timestamp),
        "client_id": _text(record.client_id),
        "image_metadata": image
        and {
            "size": image.size,
            "format": image.format,
            "dimensions": image.dimensions and list(image.dimensions),
        },
        "classification": {
            "result": record.result and _text(record.result),
            "confidence": record.confidence,
        },
        "performance": {
            "processing_time": record.processing_time,
            "model_version": record.model_version,
        },
        "unknown": record.unknown,
        "model": _text(record.model),
        "cache_hit": record.cache_hit,
        "status": record.status,
        "error": record.error and _text(record.error),
    }


def record_of(stored: Mapping[str, Any]) -> Record:
    """Return the record that a document holds.

    Raises:
        KeyError, TypeError, ValueError: it holds none.
    """
    image, answer, performance = stored["image_metadata"], stored["classification"], stored["performance"]
    return Record(
        id=stored["_id"],
        request_id=stored["request_id"],
        timestamp=stored["timestamp"].astimezone(UTC),
        client_id=stored["client_id"],
        image=image
        and ImageFacts(image["size"], image["format"], image["dimensions"] and tuple(image["dimensions"])),
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


def dump_line(record: Record) -> str:
    """Return a record as one line of JSON, without its line feed."""
    values = document(record)
    values["timestamp"] = values["timestamp"].isoformat(timespec="milliseconds")
    return json.dumps(values, separators=(",", ":"))


def parse_line(line: str | bytes) -> Record:
    """Return the record of a line that `dump_line` made.

    Raises:
        KeyError, TypeError, ValueError: the line is torn or holds something else.
    """
    values = json.loads(line)
    values["timestamp"] = datetime.fromisoformat(values["timestamp"])
    return record_of(values)


def _text(text: str) -> str:
    """Replace what is no Unicode text (lone surrogates): databases refuse it."""
    return text.encode("utf-8", "replace").decode()
