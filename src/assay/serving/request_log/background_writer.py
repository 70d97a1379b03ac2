"""Write request records to the database in the background, in batches, and spool them while it is unavailable."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from assay.core.errors import AssayError
from assay.serving.request_log import RequestLogSettings
from assay.serving.request_log.spool import Spool
from assay.serving.request_log.stores import RecordStore, StoreUnavailableError
from assay.serving.request_record import RequestRecord
from assay.serving.resilience import CircuitBreaker
from assay.serving.telemetry import DependencyStatus, RequestLogStatus, TelemetrySink

_log = logging.getLogger("assay.serving.request_log")
_MIB = 2**20

_T = TypeVar("_T")
_RETRY_SECONDS = 0.25  # seconds until a full disk or an absent database is looked at again


class RequestLogWriter:
    """Writes records to a store. For one event loop; one in each worker process."""

    def __init__(
        self,
        store: RecordStore,
        settings: RequestLogSettings,
        telemetry: TelemetrySink,
        *,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """The writer opens and closes the store. Without a spool folder, records wait in memory only."""
        self._store, self._settings, self._telemetry = store, settings, telemetry
        self._breaker = breaker or CircuitBreaker(failures=1, pause=0.5, max_pause=10.0)
        self._spool: Spool | None = None
        if settings.spool_dir is not None:
            self._spool = Spool(settings.spool_dir, limit=round(settings.spool_megabytes * _MIB))
        self._queue: deque[RequestRecord] = deque()
        self._dropped = 0
        self._opened = self._stuck = False
        self._awake, self._closing = asyncio.Event(), asyncio.Event()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._files = ThreadPoolExecutor(1, thread_name_prefix="request-log-spool")

    @property
    def backlog(self) -> int:
        """Number of records to be written, in memory and on disk."""
        return len(self._queue) + self._spooled

    @property
    def dropped(self) -> int:
        """Number of records dropped since the start."""
        return self._dropped

    def record(self, record: RequestRecord) -> None:
        """Queue a record. Never blocks or raises."""
        if len(self._queue) >= self._settings.queue_size:
            self._dropped += 1
        else:
            self._queue.append(record)
        self._awake.set()

    async def start(self) -> None:
        """Open the database, which may be unavailable, and start writing; raise `AssayError` for a bad address."""
        if self._spool is not None:
            try:
                await self._on_disk(self._spool.open)
            except OSError as error:
                _log.warning("request log: records cannot be spooled in %s: %s", self._settings.spool_dir, error)
        try:
            await self._open()
        except (StoreUnavailableError, TimeoutError) as error:
            self._failed(error)
        self._task = asyncio.create_task(self._run(), name="request log writer")

    async def flush(self) -> None:
        """Write all waiting records, as far as database and disk allow; return when that is done."""
        async with self._turn:
            await self._write_queue()
            while self._spooled and await self._drain():
                pass
            self._telemetry.emit(RequestLogStatus(self.backlog, self._dropped))

    async def close(self) -> None:
        """Write waiting records to the database or else to the spool, and close both.

        Spooled records are written after the next start.
        """
        self._closing.set()
        self._awake.set()
        if self._task is not None:
            await self._task
        async with self._turn:
            await self._write_queue()
            if self._queue:
                self._dropped += len(self._queue)
                _log.error("request log: %d records are lost", len(self._queue))
                self._queue.clear()
            self._telemetry.emit(RequestLogStatus(self.backlog, self._dropped))
            if self._spool is not None:
                await self._on_disk(self._spool.close)
        await self._store.close()
        self._files.shutdown(wait=False)

    @property
    def _spooled(self) -> int:
        return 0 if self._spool is None else len(self._spool)

    async def _run(self) -> None:
        while not self._closing.is_set():
            await self._pause()
            self._awake.clear()
            async with self._turn:
                self._stuck = not await self._write_queue()
                if self._spooled and not self._closing.is_set():
                    await self._drain()
                self._telemetry.emit(RequestLogStatus(self.backlog, self._dropped))

    async def _pause(self) -> None:
        """Wait for a record, or until it is time to retry a full or unavailable store."""
        if self._stuck:
            await _wait_at_most(_RETRY_SECONDS, self._closing)
            return
        if not self._queue:
            if not self._spooled:
                await self._awake.wait()
            elif self._breaker.open:
                await _wait_at_most(_RETRY_SECONDS, self._awake)
        if self._queue:
            # Records that come within the interval are written together.
            await _wait_at_most(self._settings.flush_interval, self._closing)

    async def _write_queue(self) -> bool:
        """Write the queue to the database, or else to the spool; return whether everything was written."""
        while self._queue:
            batch = list(islice(self._queue, self._settings.batch_size))
            taken = len(batch) if await self._write(batch) else await self._wait_on_disk(batch)
            for _ in range(taken):
                self._queue.popleft()
            if taken < len(batch):
                return False
        return True

    async def _drain(self) -> bool:
        """Write the spool's oldest file to the database; return whether that succeeded."""
        if self._spool is None or not self._breaker.due:
            return False
        try:
            records = await self._on_disk(self._spool.oldest)
            size = self._settings.batch_size
            for start in range(0, len(records), size):
                if not await self._write(records[start : start + size]):
                    return False
            await self._on_disk(self._spool.remove_oldest)
        except OSError as error:
            _log.warning("request log: the spool in %s cannot be read: %s", self._settings.spool_dir, error)
            self._stuck = True
            return False
        return True

    async def _write(self, batch: Sequence[RequestRecord]) -> bool:
        """Write a batch to the database; return whether that succeeded."""
        if not self._breaker.allows():
            return False
        try:
            if not self._opened:
                await self._open()
            async with asyncio.timeout(self._settings.write_timeout):
                refused = await self._store.write(batch)
        except (AssayError, TimeoutError) as error:
            self._failed(error)
            return False
        if refused:
            self._dropped += refused
            _log.error("request log: the database rejected %d records permanently", refused)
        if self._breaker.succeeded():
            _log.warning("request log: the database is available again; %d records are in the spool", self._spooled)
            self._telemetry.emit(DependencyStatus("request_log", up=True))
        return True

    async def _open(self) -> None:
        async with asyncio.timeout(self._settings.write_timeout):
            await self._store.open()
        self._opened = True

    def _failed(self, error: AssayError | TimeoutError) -> None:
        if self._breaker.failed():
            _log.warning("request log: the database is unavailable, records are spooled: %s", error or "timeout")
            self._telemetry.emit(DependencyStatus("request_log", up=False))

    async def _wait_on_disk(self, batch: Sequence[RequestRecord]) -> int:
        """Write a batch to the spool; return the number of records written."""
        spool = self._spool
        return 0 if spool is None else await self._on_disk(lambda: spool.put(batch))

    async def _on_disk(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._files, work)


async def _wait_at_most(seconds: float, event: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
