"""A record survives a round trip through every serialization."""

from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.serving.request_log.serialization import (
    from_document,
    from_json_line,
    from_row,
    to_document,
    to_json_line,
    to_milliseconds,
    to_row,
)
from assay.serving.request_record import ImageMetadata, RequestRecord, new_id

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_SHARE = st.floats(0, 1)
_RECORDS = st.builds(
    RequestRecord,
    request_id=_TEXT,
    timestamp=st.datetimes(timezones=st.just(UTC)).map(to_milliseconds),
    client_id=_TEXT,
    image=st.none()
    | st.builds(
        ImageMetadata,
        size=st.integers(0, 2**40),
        format=st.sampled_from(["jpeg", "png"]),
        dimensions=st.none() | st.tuples(st.integers(0, 9999), st.integers(0, 9999)),
    ),
    result=st.none() | _TEXT.filter(bool),
    confidence=st.none() | _SHARE,
    unknown=st.none() | st.booleans(),
    processing_time=st.floats(0, 1000),
    model=_TEXT,
    model_version=_TEXT,
    cache_hit=st.booleans(),
    status=st.integers(200, 599),
    error=st.none() | _TEXT.filter(bool),
    region=st.none() | st.just("eu-west"),
)


@given(_RECORDS)
def test_documents_lines_and_rows_contain_all_fields(record: RequestRecord):
    assert from_document(to_document(record)) == record
    assert from_json_line(to_json_line(record)) == record
    assert from_row(to_row(record)) == record
    assert "\n" not in to_json_line(record)


def test_truncated_line_is_not_a_record(record: Any):
    line = to_json_line(record())
    for end in range(len(line)):
        with pytest.raises((KeyError, TypeError, ValueError)):
            from_json_line(line[:end])


def test_document_without_a_region_can_be_read(record: Any):
    stored = to_document(record())
    del stored["region"]
    assert from_document(stored) == record(id=stored["_id"])


def test_ids_are_unique_and_ordered_by_time():
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [item[:12] for item in ids] == sorted(item[:12] for item in ids)
