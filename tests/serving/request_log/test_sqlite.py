"""The SQLite store: invalid, locked and old files."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.core.errors import AssayError
from assay.serving.request_log.stores import RecordQuery, SqliteStore, StoreUnavailableError

pytestmark = pytest.mark.anyio


NO_DATABASE = b"a photo, say" * 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.sqlite"


async def times(store: SqliteStore, **wanted: Any) -> list[datetime]:
    return [item.timestamp async for item in store.read(RecordQuery(**wanted))]


async def test_file_uses_write_ahead_logging(path: Path):
    store = SqliteStore(path)
    await store.open()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await store.close()


async def test_file_without_the_region_column_is_extended(path: Path, record: Any):
    old = SqliteStore(path)
    await old.open()
    await old.write([record(0)])
    await old.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE request_logs DROP COLUMN region")
    stores = [SqliteStore(path) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))  # as the workers of a server do
    await stores[0].write([record(1, region="eu")])
    assert [item.region async for item in stores[1].read(RecordQuery())] == ["eu", None]
    for store in stores:
        await store.close()


@pytest.mark.parametrize(
    ("since", "until", "numbers"), [(2, None, [4, 3, 2]), (None, 2, [1, 0]), (1, 3, [2, 1]), (9, None, [])]
)
async def test_since_is_inclusive_and_until_exclusive(
    path: Path, record: Any, since: int | None, until: int | None, numbers: list[int]
):
    store = SqliteStore(path)
    await store.open()
    start = record(0).timestamp
    await store.write([record(number) for number in range(5)])
    span = {
        name: None if number is None else start + timedelta(seconds=number)
        for name, number in (("since", since), ("until", until))
    }
    assert await times(store, **span) == [start + timedelta(seconds=number) for number in numbers]
    await store.close()


@pytest.mark.parametrize(
    ("column", "query"),
    [("request_logs_by_client", "client_id = 'a'"), ("request_logs_by_request", "request_id = 'a'")],
)
async def test_queries_by_client_and_request_use_an_index(path: Path, column: str, query: str):
    store = SqliteStore(path)
    await store.open()
    with closing(sqlite3.connect(path)) as db:
        plan = db.execute(
            f"EXPLAIN QUERY PLAN SELECT id FROM request_logs WHERE {query} ORDER BY timestamp DESC"  # noqa: S608
        ).fetchall()
    assert column in str(plan)
    await store.close()


async def test_old_records_are_deleted_and_recent_ones_kept(path: Path, record: Any):
    class Clock:
        now = datetime(2026, 6, 1, tzinfo=UTC)

        def __call__(self) -> float:
            return self.now.timestamp()

    clock = Clock()
    store = SqliteStore(path, keep_days=30, clock=clock)
    await store.open()
    old, young = (record(timestamp=clock.now - timedelta(days=days)) for days in (31, 29))
    await store.write([old, young])
    assert await times(store) == [young.timestamp]
    clock.now += timedelta(days=2)
    await store.write([record(timestamp=clock.now)])
    assert await times(store) == [clock.now]
    await store.close()


@pytest.fixture
def other_file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(NO_DATABASE)
    return path


async def test_other_file_is_not_overwritten(other_file: Path):
    store = SqliteStore(other_file)
    with pytest.raises(AssayError, match="is not an SQLite file") as raised:
        await store.open()
    assert not isinstance(raised.value, StoreUnavailableError)
    await store.close()
    with other_file.open("rb") as stream:
        assert stream.read() == NO_DATABASE


async def test_folder_that_cannot_be_created_raises(other_file: Path):
    store = SqliteStore(other_file / "folder" / "requests.sqlite")
    with pytest.raises(AssayError, match="cannot be created"):
        await store.open()
    await store.close()


async def test_locked_file_is_unavailable_and_batches_are_atomic(path: Path, record: Any):
    store = SqliteStore(path, patience=0.01)
    await store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            await store.write([record()])
        other.execute("ROLLBACK")
    assert await times(store) == []
    await store.write([record()])
    assert len(await times(store)) == 1
    await store.close()
