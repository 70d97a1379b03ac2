"""Every record is written exactly once, through outages of the database and the disk."""

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.core.errors import AssayError
from assay.serving.request_log import RequestLogSettings
from assay.serving.request_log.background_writer import RequestLogWriter
from assay.serving.request_log.stores import RecordStore, make_store, spool_folder_name
from assay.serving.request_record import RequestRecord
from assay.serving.resilience import CircuitBreaker

pytestmark = pytest.mark.anyio

MakeWriter = Callable[..., RequestLogWriter]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def writer(tmp_path: Path, telemetry: Any, clock: Clock) -> AsyncIterator[MakeWriter]:
    """Make journals with a spool in `spool`; those that are not closed yet are closed in the end."""
    made = []

    def make(store: RecordStore, **changes: Any) -> RequestLogWriter:
        usual = RequestLogSettings(spool_dir=tmp_path / "spool", flush_interval=0)
        breaker = CircuitBreaker(failures=1, pause=1, clock=clock)
        made.append(RequestLogWriter(store, usual.model_copy(update=changes), telemetry, breaker=breaker))
        return made[-1]

    yield make
    for item in made:
        await item.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


def ids(records: Sequence[RequestRecord]) -> list[str]:
    return sorted(item.request_id for item in records)


async def test_records_are_written_in_the_background(writer: MakeWriter, failing_store: Any, record: Any):
    item = writer(failing_store)
    await item.start()
    for number in range(1200):
        item.record(record(number))
    await until(lambda: len(failing_store.kept) == 1200)
    assert failing_store.calls <= 4
    await until(lambda: item.backlog == 0)


async def test_record_waits_at_most_the_flush_interval(writer: MakeWriter, failing_store: Any, record: Any):
    item = writer(failing_store, flush_interval=0.01)
    await item.start()
    for number in range(3):
        item.record(record(number))
        await until(lambda: len(failing_store.kept) == number + 1)  # noqa: B023 - it is awaited here


async def test_recording_does_not_wait_for_a_hanging_database(writer: MakeWriter, failing_store: Any, record: Any):
    class Hanging(type(failing_store)):  # type: ignore[misc]
        async def write(self, records: Sequence[RequestRecord]) -> int:
            await asyncio.Event().wait()
            return len(records)

    item = writer(Hanging(), write_timeout=0.01)
    await item.start()
    item.record(record())
    await until(lambda: item.backlog == 1)
    await item.flush()
    assert (item.backlog, item.dropped) == (1, 0)


async def test_records_are_spooled_during_an_outage_and_written_afterwards(
    writer: MakeWriter, failing_store: Any, record: Any, telemetry: Any, clock: Clock
):
    item = writer(failing_store)
    failing_store.unavailable = True
    await item.start()
    for number in range(10):
        item.record(record(number))
        await item.flush()
    assert item.backlog == 10
    assert item._spool is not None
    assert (len(item._spool), len(item._spool._waiting)) == (10, 1)
    assert telemetry.outages == [("request_log", True)]
    failing_store.unavailable = False
    await item.flush()
    assert failing_store.kept == {}
    clock.now = 1
    await item.flush()
    assert ids(list(failing_store.kept.values())) == ids([record(number) for number in range(10)])
    assert telemetry.outages == [("request_log", True), ("request_log", False)]
    assert telemetry.request_logs[-1] == (0, 0)


async def test_writing_resumes_without_new_requests(writer: MakeWriter, failing_store: Any, record: Any, clock: Clock):
    item = writer(failing_store)
    failing_store.unavailable = True
    await item.start()
    item.record(record())
    await until(lambda: failing_store.calls == 0 and item._spooled == 1)
    failing_store.unavailable = False
    clock.now = 60
    await until(lambda: len(failing_store.kept) == 1)


async def test_partially_stored_batch_is_stored_once(writer: MakeWriter, failing_store: Any, record: Any, clock: Clock):
    item = writer(failing_store)
    await item.start()
    failing_store.fails_halfway = True
    for number in range(10):
        item.record(record(number))
    await item.flush()
    assert len(failing_store.kept) == 5
    failing_store.fails_halfway = False
    clock.now = 1
    await item.flush()
    assert len(failing_store.kept) == 10
    assert item.dropped == 0


async def test_spooled_records_are_written_after_a_restart(
    writer: MakeWriter, failing_store: Any, record: Any, tmp_path: Path, telemetry: Any
):
    failing_store.unavailable = True
    first = RequestLogWriter(failing_store, RequestLogSettings(spool_dir=tmp_path / "spool"), telemetry)
    await first.start()
    for number in range(10):
        first.record(record(number))
    await first.close()
    assert telemetry.request_logs[-1] == (10, 0)
    failing_store.unavailable = False
    second = writer(failing_store)
    await second.start()
    await until(lambda: len(failing_store.kept) == 10)


async def test_close_writes_the_latest_records(failing_store: Any, record: Any, telemetry: Any):
    item = RequestLogWriter(failing_store, RequestLogSettings(flush_interval=60), telemetry)
    await item.start()
    for number in range(700):
        item.record(record(number))
    await item.close()
    assert len(failing_store.kept) == 700


async def test_dropped_records_are_counted_and_others_kept(
    writer: MakeWriter, failing_store: Any, record: Any, clock: Clock
):
    item = writer(failing_store, spool_megabytes=0.01, queue_size=20)
    failing_store.unavailable = True
    await item.start()
    for number in range(100):
        item.record(record(number))
        await item.flush()
    on_disk = item._spooled
    assert 10 < on_disk < 40
    assert item.backlog == on_disk + 20
    assert item.dropped == 100 - item.backlog
    failing_store.unavailable = False
    clock.now = 1
    await item.flush()
    assert len(failing_store.kept) == 100 - item.dropped
    assert item.backlog == 0


async def test_without_a_spool_records_wait_in_memory(
    writer: MakeWriter, failing_store: Any, record: Any, clock: Clock
):
    item = writer(failing_store, spool_dir=None)
    failing_store.unavailable = True
    await item.start()
    item.record(record())
    await item.flush()
    assert (item.backlog, item.dropped) == (1, 0)
    failing_store.unavailable = False
    clock.now = 1
    await item.flush()
    assert len(failing_store.kept) == 1


async def test_records_lost_at_shutdown_are_counted_and_logged(
    failing_store: Any, record: Any, telemetry: Any, caplog: pytest.LogCaptureFixture
):
    failing_store.unavailable = True
    item = RequestLogWriter(failing_store, RequestLogSettings(), telemetry)
    await item.start()
    item.record(record())
    with caplog.at_level(logging.ERROR):
        await item.close()
    assert telemetry.request_logs[-1] == (0, 1)
    assert "1 records are lost" in caplog.text


async def test_permanently_rejected_records_do_not_block_others(writer: MakeWriter, failing_store: Any, record: Any):
    class Choosy(type(failing_store)):  # type: ignore[misc]
        async def write(self, records: Sequence[RequestRecord]) -> int:
            return sum(item.status == 500 for item in records)

    item = writer(Choosy())
    await item.start()
    for number in range(10):
        item.record(record(number, status=500 if number == 3 else 200))
    await item.flush()
    assert (item.backlog, item.dropped) == (0, 1)


async def test_invalid_address_raises_at_startup(writer: MakeWriter, other_file: Path):
    with pytest.raises(AssayError, match="is not an SQLite file"):
        await writer(make_store(str(other_file))).start()


@pytest.fixture
def other_file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"a photo, say" * 100)
    return path


async def test_read_only_spool_folder_is_tolerated(
    writer: MakeWriter, failing_store: Any, record: Any, other_file: Path, clock: Clock
):
    item = writer(failing_store, spool_dir=other_file)
    failing_store.unavailable = True
    await item.start()
    item.record(record())
    await item.flush()
    failing_store.unavailable = False
    clock.now = 1
    await item.flush()
    assert (len(failing_store.kept), item.dropped) == (1, 0)


@pytest.fixture
def full_disk() -> Iterator[Callable[[int | None], None]]:
    """Let no file of this process grow beyond so many bytes; None: let them grow again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield fill
    fill(None)


async def test_full_spool_disk_loses_nothing_that_fits_in_memory(
    writer: MakeWriter, failing_store: Any, record: Any, clock: Clock, full_disk: Callable[[int | None], None]
):
    item = writer(failing_store, queue_size=50)
    failing_store.unavailable = True
    await item.start()
    full_disk(1000)
    for number in range(60):
        item.record(record(number))
        await item.flush()
    full_disk(None)
    kept = item.backlog
    assert 50 <= kept < 60
    assert item.dropped == 60 - kept
    failing_store.unavailable = False
    clock.now = 1
    await item.flush()
    assert len(failing_store.kept) == kept


_STEPS = st.lists(st.sampled_from(["record", "flush", "away", "torn", "back", "restart", "later"]), max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_no_record_is_lost_in_any_sequence_of_failures(
    steps: list[str], failing_store: Any, record: Any, telemetry: Any, tmp_path_factory: pytest.TempPathFactory
):
    """Every sequence of outages and restarts ends with all records in the database."""
    folder, store, clock, recorded = tmp_path_factory.mktemp("spool"), type(failing_store)(), Clock(), 0

    async def start() -> RequestLogWriter:
        breaker = CircuitBreaker(failures=1, pause=1, clock=clock)
        made = RequestLogWriter(
            store, RequestLogSettings(spool_dir=folder, batch_size=3, flush_interval=0), telemetry, breaker=breaker
        )
        await made.start()
        return made

    writer = await start()
    for step in [*steps, "back", "restart"]:
        if step == "record":
            for _ in range(4):
                writer.record(record(recorded))
                recorded += 1
        elif step == "flush":
            await writer.flush()
        elif step == "later":
            clock.now += 60
        elif step == "restart":
            await writer.close()
            writer = await start()
        else:
            store.unavailable, store.fails_halfway = step == "away", step == "torn"
    clock.now += 60
    await writer.flush()
    assert ids(list(store.kept.values())) == ids([record(number) for number in range(recorded)])
    assert (writer.backlog, writer.dropped) == (0, 0)
    await writer.close()


def test_each_database_has_its_own_spool_regardless_of_secrets(tmp_path: Path):
    names = [
        spool_folder_name(url)
        for url in (
            str(tmp_path / "a.sqlite"),
            str(tmp_path / "b.sqlite"),
            "mongodb://host/a",
            "mongodb://host/b",
        )
    ]
    assert len(set(names)) == 4
    assert spool_folder_name("mongodb://me:one@host/a?w=1") == spool_folder_name("mongodb://me:two@host/a") == names[2]
    assert spool_folder_name(f"sqlite:///{tmp_path}/a.sqlite") == names[0]
