"""Real databases and a real disk fail and recover under load; the request log is complete afterwards."""

import asyncio
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from assay.serving.request_log import RequestLogSettings
from assay.serving.request_log.background_writer import RequestLogWriter
from assay.serving.request_log.stores import RecordQuery, make_store
from assay.serving.resilience import CircuitBreaker

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.usefixtures("unclosed"),
]


class Load:
    """Requests that are recorded one after the other while something happens."""

    def __init__(self, writer: RequestLogWriter, record: Any) -> None:
        self.sent = 0
        self._journal, self._record = writer, record
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self._journal.record(self._record(self.sent))
            self.sent += 1
            await asyncio.sleep(0.0005)

    async def more(self, count: int) -> None:
        """Return when so many more have been sent."""
        enough = self.sent + count
        while self.sent < enough:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def stored(address: str) -> list[str]:
    store = make_store(address)
    await store.open()
    found = [item.request_id async for item in store.read(RecordQuery())]
    await store.close()
    return sorted(found)


async def settled(writer: RequestLogWriter) -> None:
    async with asyncio.timeout(60):
        while writer.backlog:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)


def expected(count: int) -> list[str]:
    return sorted(f"request-{number}" for number in range(count))


async def test_mongodb_killed_and_restarted_under_load(mongo_server: Any, tmp_path: Path, record: Any, telemetry: Any):
    address = f"{mongo_server.url}/t{uuid4().hex}?serverSelectionTimeoutMS=200"
    settings = RequestLogSettings(spool_dir=tmp_path / "spool", flush_interval=0.01)
    breaker = CircuitBreaker(failures=1, pause=0.1, max_pause=0.2)
    writer = RequestLogWriter(make_store(address), settings, telemetry, breaker=breaker)
    await writer.start()
    load = Load(writer, record)
    for _ in range(2):
        await load.more(300)
        await asyncio.to_thread(mongo_server.kill)
        await load.more(300)
        await asyncio.to_thread(mongo_server.start)
    await load.more(300)
    await load.stop()
    await settled(writer)
    await writer.close()
    assert writer.dropped == 0
    assert await stored(address) == expected(load.sent)
    assert telemetry.outages[:2] == [("request_log", True), ("request_log", False)]
    assert telemetry.outages[-1] == ("request_log", False)


async def test_sqlite_locked_by_another_program_under_load(tmp_path: Path, record: Any, telemetry: Any):
    path = tmp_path / "requests.sqlite"
    settings = RequestLogSettings(spool_dir=tmp_path / "spool", flush_interval=0.01, write_timeout=0.05)
    writer = RequestLogWriter(
        make_store(str(path)), settings, telemetry, breaker=CircuitBreaker(failures=1, pause=0.1, max_pause=0.2)
    )
    await writer.start()
    load = Load(writer, record)
    await load.more(100)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        await load.more(500)
        other.execute("ROLLBACK")
    await load.more(100)
    await load.stop()
    await settled(writer)
    await writer.close()
    assert writer.dropped == 0
    assert await stored(str(path)) == expected(load.sent)
    assert ("request_log", True) in telemetry.outages


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
async def full(
    tiny_disk: Path, failing_store: Any, record: Any, telemetry: Any
) -> AsyncIterator[tuple[RequestLogWriter, int]]:
    """A writer whose database is unavailable and whose disk and memory are full, and how many it was given."""
    failing_store.unavailable = True
    settings = RequestLogSettings(spool_dir=tiny_disk, flush_interval=0, queue_size=100)
    writer = RequestLogWriter(
        failing_store, settings, telemetry, breaker=CircuitBreaker(failures=1, pause=0.01, max_pause=0.01)
    )
    await writer.start()
    for number in range(500):
        writer.record(record(number))
        await writer.flush()
    yield writer, 500
    await writer.close()


async def test_full_disk_during_a_database_outage(full: tuple[RequestLogWriter, int], failing_store: Any, record: Any):
    writer, given = full
    assert 0 < writer.dropped < given - 100
    kept = writer.backlog
    assert kept == given - writer.dropped
    failing_store.unavailable = False
    await settled(writer)
    assert len(failing_store.kept) == kept
    writer.record(record(given))
    await settled(writer)
    assert len(failing_store.kept) == kept + 1
