"""Behaviour that all record stores share."""

import asyncio
import random
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from assay.core.errors import AssayError
from assay.serving.request_log.stores import RecordQuery, RecordStore, StoreUnavailableError, make_store
from assay.serving.request_record import RequestRecord

pytestmark = pytest.mark.anyio


async def read(store: RecordStore, **wanted: Any) -> list[RequestRecord]:
    return [item async for item in store.read(RecordQuery(**wanted))]


async def test_record_survives_a_round_trip(store: RecordStore, record: Any):
    full = record(1, unknown=True, cache_hit=True, region="eu-west")
    bare = record(0, image=None, result=None, confidence=None, unknown=None, status=400, client_id="anonymous")
    assert await store.write([full, bare]) == 0
    assert await read(store) == [full, bare]


async def test_dimensions_may_be_unknown(store: RecordStore, record: Any):
    photo = record(image=record().image.__class__(10, "jpeg", None))
    await store.write([photo])
    assert await read(store) == [photo]


async def test_times_are_utc_in_whole_milliseconds(store: RecordStore, record: Any):
    there = datetime(2026, 3, 1, 12, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=2)))
    await store.write([record(timestamp=there)])
    (kept,) = await read(store)
    assert kept.timestamp == datetime(2026, 3, 1, 10, 0, 0, 123_000, tzinfo=UTC)
    assert kept.timestamp.utcoffset() == timedelta(0)


async def test_arbitrary_text_is_stored(store: RecordStore, record: Any):
    strange = record(request_id="'; DROP TABLE requests; --\n\x00é漢", client_id="$where", result="a.b\U0001f600")
    await store.write([strange, record(1, request_id="lone \ud800")])
    kept = await read(store)
    assert kept[1] == strange
    assert kept[0].request_id == "lone ?"


async def test_record_written_twice_is_stored_once(store: RecordStore, record: Any):
    records = [record(number) for number in range(10)]
    await store.write(records[:6])
    assert await store.write(records[3:]) == 0
    assert await store.write(random.Random(1).sample(records, 10)) == 0
    assert await read(store) == records[::-1]


async def test_request_ids_may_repeat(store: RecordStore, record: Any):
    same = [record(0), record(0)]
    await store.write(same)
    assert {item.id for item in await read(store)} == {item.id for item in same}


async def test_reopening_keeps_records(address: str, store: RecordStore, record: Any):
    await store.write([record()])
    await store.open()
    another = make_store(address, keep_days=10_000)
    await another.open()
    await another.write([record(1)])
    assert len(await read(store)) == 2
    await another.close()


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({}, [3, 2, 1, 0]),
        ({"limit": 2}, [3, 2]),
        ({"client_id": "gate"}, [2]),
        ({"result": "closed"}, [3, 1]),
        ({"status": 503}, [3]),
        ({"request_id": "request-1"}, [1]),
        ({"result": "closed", "status": 200}, [1]),
        ({"client_id": "nobody"}, []),
    ],
    ids=str,
)
async def test_queries_select_by_field(store: RecordStore, record: Any, wanted: dict[str, Any], numbers: list[int]):
    records = [
        record(0),
        record(1, result="closed"),
        record(2, client_id="gate"),
        record(3, result="closed", status=503),
    ]
    await store.write(records)
    assert await read(store, **wanted) == [records[number] for number in numbers]


async def test_concurrent_writers_lose_nothing(address: str, record: Any):
    """Workers share one database."""

    async def work(worker: int) -> None:
        store = make_store(address)
        await store.open()
        for start in range(0, 60, 20):
            await store.write([record(worker * 100 + start + number) for number in range(20)])
        await store.close()

    await asyncio.gather(*map(work, range(4)))
    store = make_store(address)
    await store.open()
    assert len({item.request_id for item in await read(store)}) == 240
    await store.close()


async def test_records_of_several_pages_are_read(store: RecordStore, record: Any):
    records = [record(number) for number in range(2500)]
    await store.write(records)
    assert await read(store) == records[::-1]


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("unclosed")
async def test_unavailable_server_raises_without_secrets(record: Any):
    store = make_store("mongodb://me:secret@127.0.0.1:1/x?serverSelectionTimeoutMS=10&authSource=admin")
    for work in (store.open(), store.write([record()]), read(store)):
        with pytest.raises(StoreUnavailableError, match=r"MongoDB at 127\.0\.0\.1 cannot be used now") as raised:
            await work
        assert "secret" not in str(raised.value)
    await store.close()


def test_invalid_address_is_rejected(tmp_path: Path):
    with pytest.raises(AssayError, match="give mongodb://HOST:PORT/DATABASE"):
        make_store("mongodb://host:port:secret")
    with pytest.raises(AssayError, match="does not exist"):
        make_store(str(tmp_path / "none.sqlite"), must_exist=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(
        AssayError, match=r"request log postgres://\.\.\.: give mongodb://HOST/DATABASE, or a file"
    ) as raised:
        make_store("postgres://user:secret@host")
    assert "secret" not in str(raised.value)
    with pytest.raises(AssayError, match="is a folder: give a file"):
        make_store(str(tmp_path))
