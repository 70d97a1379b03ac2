"""Request records, and stores for them."""

import gc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from assay.serving.request_log.stores import RecordQuery, RecordStore, StoreUnavailableError, make_store
from assay.serving.request_record import ImageMetadata, RequestRecord

MakeRecord = Callable[..., RequestRecord]
_START = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)


@pytest.fixture
def record() -> MakeRecord:
    """Make the n-th record, one second after the previous one; `changes` sets fields."""

    def make(number: int = 0, **changes: Any) -> RequestRecord:
        usual = RequestRecord(
            request_id=f"request-{number}",
            timestamp=_START + timedelta(seconds=number),
            client_id="line-7",
            image=ImageMetadata(123_456, "jpeg", (1920, 1080)),
            result="open",
            confidence=0.75,
            unknown=False,
            processing_time=0.0125,
            model="bottle",
            model_version="3f" * 8,
            cache_hit=False,
            status=200,
        )
        return replace(usual, **changes)

    return make


@pytest.fixture(params=["sqlite", "mongo"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "journal" / "requests.sqlite")
    return f"{request.getfixturevalue('mongo_server').url}/t{uuid4().hex}"


@pytest.fixture
async def store(address: str) -> AsyncIterator[RecordStore]:
    """An open, empty store."""
    made = make_store(address)
    await made.open()
    yield made
    await made.close()


class FailingStore:
    """A store in memory that can be unavailable, or fail after storing half of a batch."""

    def __init__(self) -> None:
        self.kept: dict[str, RequestRecord] = {}
        self.unavailable = False
        self.fails_halfway = False
        self.calls = 0

    async def open(self) -> None:
        self._check()

    async def write(self, records: Sequence[RequestRecord]) -> int:
        self.calls += 1
        if self.fails_halfway:
            self.kept.update({item.id: item for item in records[: len(records) // 2]})
            raise StoreUnavailableError("it failed halfway")
        self._check()
        self.kept.update({item.id: item for item in records})
        return 0

    async def read(self, query: RecordQuery) -> AsyncIterator[RequestRecord]:
        for item in list(self.kept.values())[: query.limit]:
            yield item

    async def close(self) -> None:
        """No-op."""

    def _check(self) -> None:
        if self.unavailable:
            raise StoreUnavailableError("it is unavailable")


@pytest.fixture
def failing_store() -> FailingStore:
    """A store that can be unavailable."""
    return FailingStore()


@pytest.fixture
def unclosed() -> Iterator[None]:
    """Collect sockets that pymongo leaves open when it is closed while connecting.

    For tests marked `filterwarnings("ignore:unclosed <socket:ResourceWarning")`.
    """
    gc.collect()
    yield
    gc.collect()
