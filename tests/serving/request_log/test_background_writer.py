"""Records reach the database whatever happens to it, once each."""

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

MakeJournal = Callable[..., RequestLogWriter]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def journal(tmp_path: Path, heard: Any, clock: Clock) -> AsyncIterator[MakeJournal]:
    """Make journals with a spool in `spool`; those that are not closed yet are closed in the end."""
    made = []

    def make(store: RecordStore, **changes: Any) -> RequestLogWriter:
        usual = RequestLogSettings(spool_dir=tmp_path / "spool", flush_interval=0)
        breaker = CircuitBreaker(failures=1, pause=1, clock=clock)
        made.append(RequestLogWriter(store, usual.model_copy(update=changes), heard, breaker=breaker))
        return made[-1]

    yield make
    for item in made:
        await item.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - what is waited for is an outcome, and tells nobody
            await asyncio.sleep(0.005)


def ids(records: Sequence[RequestRecord]) -> list[str]:
    return sorted(item.request_id for item in records)


async def test_records_reach_the_database_behind_the_answers(journal: MakeJournal, shaky: Any, record: Any):
    item = journal(shaky)
    await item.start()
    for number in range(1200):
        item.record(record(number))
    await until(lambda: len(shaky.kept) == 1200)
    assert shaky.calls <= 4
    await until(lambda: item.backlog == 0)


async def test_a_record_waits_no_longer_than_the_interval_for_others(journal: MakeJournal, shaky: Any, record: Any):
    item = journal(shaky, flush_interval=0.01)
    await item.start()
    for number in range(3):
        item.record(record(number))
        await until(lambda: len(shaky.kept) == number + 1)  # noqa: B023 - it is awaited here


async def test_recording_never_waits_for_a_database_that_hangs(journal: MakeJournal, shaky: Any, record: Any):
    class Hanging(type(shaky)):  # type: ignore[misc]
        async def write(self, records: Sequence[RequestRecord]) -> int:
            await asyncio.Event().wait()
            return len(records)

    item = journal(Hanging(), write_timeout=0.01)
    await item.start()
    item.record(record())
    await until(lambda: item.backlog == 1)
    await item.flush()
    assert (item.backlog, item.dropped) == (1, 0)


async def test_while_the_database_is_away_records_wait_on_disk_and_go_in_when_it_is_back(
    journal: MakeJournal, shaky: Any, record: Any, heard: Any, clock: Clock
):
    item = journal(shaky)
    shaky.away = True
    await item.start()
    for number in range(10):
        item.record(record(number))
        await item.flush()
    assert item.backlog == 10
    assert item._spool is not None
    assert (len(item._spool), len(item._spool._waiting)) == (10, 1)
    assert heard.outages == [("request_log", True)]
    shaky.away = False
    await item.flush()
    assert shaky.kept == {}
    clock.now = 1
    await item.flush()
    assert ids(list(shaky.kept.values())) == ids([record(number) for number in range(10)])
    assert heard.outages == [("request_log", True), ("request_log", False)]
    assert heard.request_logs[-1] == (0, 0)


async def test_it_comes_back_by_itself_without_new_requests(
    journal: MakeJournal, shaky: Any, record: Any, clock: Clock
):
    item = journal(shaky)
    shaky.away = True
    await item.start()
    item.record(record())
    await until(lambda: shaky.calls == 0 and item._spooled == 1)
    shaky.away = False
    clock.now = 60
    await until(lambda: len(shaky.kept) == 1)


async def test_a_batch_that_was_stored_in_part_is_stored_once(
    journal: MakeJournal, shaky: Any, record: Any, clock: Clock
):
    item = journal(shaky)
    await item.start()
    shaky.torn = True
    for number in range(10):
        item.record(record(number))
    await item.flush()
    assert len(shaky.kept) == 5
    shaky.torn = False
    clock.now = 1
    await item.flush()
    assert len(shaky.kept) == 10
    assert item.dropped == 0


async def test_what_waits_at_the_end_is_there_at_the_next_start(
    journal: MakeJournal, shaky: Any, record: Any, tmp_path: Path, heard: Any
):
    shaky.away = True
    first = RequestLogWriter(shaky, RequestLogSettings(spool_dir=tmp_path / "spool"), heard)
    await first.start()
    for number in range(10):
        first.record(record(number))
    await first.close()
    assert heard.request_logs[-1] == (10, 0)
    shaky.away = False
    second = journal(shaky)
    await second.start()
    await until(lambda: len(shaky.kept) == 10)


async def test_closing_writes_what_was_recorded_just_before(shaky: Any, record: Any, heard: Any):
    item = RequestLogWriter(shaky, RequestLogSettings(flush_interval=60), heard)
    await item.start()
    for number in range(700):
        item.record(record(number))
    await item.close()
    assert len(shaky.kept) == 700


async def test_what_fits_nowhere_is_counted_and_the_rest_kept(
    journal: MakeJournal, shaky: Any, record: Any, clock: Clock
):
    item = journal(shaky, spool_megabytes=0.01, queue_size=20)
    shaky.away = True
    await item.start()
    for number in range(100):
        item.record(record(number))
        await item.flush()
    on_disk = item._spooled
    assert 10 < on_disk < 40
    assert item.backlog == on_disk + 20
    assert item.dropped == 100 - item.backlog
    shaky.away = False
    clock.now = 1
    await item.flush()
    assert len(shaky.kept) == 100 - item.dropped
    assert item.backlog == 0


async def test_without_a_spool_records_wait_in_memory(journal: MakeJournal, shaky: Any, record: Any, clock: Clock):
    item = journal(shaky, spool_dir=None)
    shaky.away = True
    await item.start()
    item.record(record())
    await item.flush()
    assert (item.backlog, item.dropped) == (1, 0)
    shaky.away = False
    clock.now = 1
    await item.flush()
    assert len(shaky.kept) == 1


async def test_what_nothing_takes_until_the_end_is_counted_and_said(
    shaky: Any, record: Any, heard: Any, caplog: pytest.LogCaptureFixture
):
    shaky.away = True
    item = RequestLogWriter(shaky, RequestLogSettings(), heard)
    await item.start()
    item.record(record())
    with caplog.at_level(logging.ERROR):
        await item.close()
    assert heard.request_logs[-1] == (0, 1)
    assert "1 records are lost" in caplog.text


async def test_records_the_database_refuses_for_good_do_not_block_the_others(
    journal: MakeJournal, shaky: Any, record: Any
):
    class Choosy(type(shaky)):  # type: ignore[misc]
        async def write(self, records: Sequence[RequestRecord]) -> int:
            return sum(item.status == 500 for item in records)

    item = journal(Choosy())
    await item.start()
    for number in range(10):
        item.record(record(number, status=500 if number == 3 else 200))
    await item.flush()
    assert (item.backlog, item.dropped) == (0, 1)


async def test_an_address_that_cannot_be_right_ends_the_start(journal: MakeJournal, other_file: Path):
    with pytest.raises(AssayError, match="is not an SQLite file"):
        await journal(make_store(str(other_file))).start()


@pytest.fixture
def other_file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"a photo, say" * 100)
    return path


async def test_a_spool_without_writing_is_no_obstacle(
    journal: MakeJournal, shaky: Any, record: Any, other_file: Path, clock: Clock
):
    item = journal(shaky, spool_dir=other_file)
    shaky.away = True
    await item.start()
    item.record(record())
    await item.flush()
    shaky.away = False
    clock.now = 1
    await item.flush()
    assert (len(shaky.kept), item.dropped) == (1, 0)


@pytest.fixture
def full_disk() -> Iterator[Callable[[int | None], None]]:
    """Let no file of this process grow beyond so many bytes; None: let them grow again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield fill
    fill(None)


async def test_a_full_disk_under_the_spool_loses_nothing_that_memory_can_hold(
    journal: MakeJournal, shaky: Any, record: Any, clock: Clock, full_disk: Callable[[int | None], None]
):
    item = journal(shaky, queue_size=50)
    shaky.away = True
    await item.start()
    full_disk(1000)
    for number in range(60):
        item.record(record(number))
        await item.flush()
    full_disk(None)
    kept = item.backlog
    assert 50 <= kept < 60
    assert item.dropped == 60 - kept
    shaky.away = False
    clock.now = 1
    await item.flush()
    assert len(shaky.kept) == kept


_STEPS = st.lists(st.sampled_from(["record", "flush", "away", "torn", "back", "restart", "later"]), max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_nothing_is_lost_whatever_happens(
    steps: list[str], shaky: Any, record: Any, heard: Any, tmp_path_factory: pytest.TempPathFactory
):
    """Every sequence of outages and restarts ends with all records in the database."""
    folder, store, clock, recorded = tmp_path_factory.mktemp("spool"), type(shaky)(), Clock(), 0

    async def start() -> RequestLogWriter:
        breaker = CircuitBreaker(failures=1, pause=1, clock=clock)
        made = RequestLogWriter(
            store, RequestLogSettings(spool_dir=folder, batch_size=3, flush_interval=0), heard, breaker=breaker
        )
        await made.start()
        return made

    journal = await start()
    for step in [*steps, "back", "restart"]:
        if step == "record":
            for _ in range(4):
                journal.record(record(recorded))
                recorded += 1
        elif step == "flush":
            await journal.flush()
        elif step == "later":
            clock.now += 60
        elif step == "restart":
            await journal.close()
            journal = await start()
        else:
            store.away, store.torn = step == "away", step == "torn"
    clock.now += 60
    await journal.flush()
    assert ids(list(store.kept.values())) == ids([record(number) for number in range(recorded)])
    assert (journal.backlog, journal.dropped) == (0, 0)
    await journal.close()


def test_each_database_has_a_spool_of_its_own_and_secrets_do_not_count(tmp_path: Path):
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
