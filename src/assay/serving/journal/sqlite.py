"""Records in one SQLite file, shared by the workers of one machine.

Write-ahead logging lets readers and one writer work at a time; a commit survives a killed process, and a
power cut may cost the last commits but never the file.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar

from assay.errors import AssayError
from assay.serving.journal.base import Query, StoreError
from assay.serving.journal.rows import record_of_row, row, since_epoch
from assay.serving.record import Record

_SCHEMA: Final = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS request_logs (
        id TEXT PRIMARY KEY, request_id TEXT NOT NULL, timestamp INTEGER NOT NULL, client_id TEXT NOT NULL,
        size INTEGER, format TEXT, width INTEGER, height INTEGER,
        result TEXT, confidence REAL, unknown INTEGER, processing_time REAL NOT NULL,
        model TEXT NOT NULL, model_version TEXT NOT NULL, cache_hit INTEGER NOT NULL, status INTEGER NOT NULL,
        error TEXT
    );
    CREATE INDEX IF NOT EXISTS request_logs_by_client ON request_logs (client_id, timestamp);
    CREATE INDEX IF NOT EXISTS request_logs_by_time ON request_logs (timestamp);
    CREATE INDEX IF NOT EXISTS request_logs_by_request ON request_logs (request_id);
"""
_INSERT: Final = """
    INSERT INTO request_logs (
        id, request_id, timestamp, client_id, size, format, width, height, result, confidence, unknown,
        processing_time, model, model_version, cache_hit, status, error
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
_SELECT: Final = """
    SELECT id, request_id, timestamp, client_id, size, format, width, height, result, confidence, unknown,
        processing_time, model, model_version, cache_hit, status, error
    FROM request_logs WHERE TRUE
"""
_CONDITIONS: Final = {
    "client_id": "AND client_id = :client_id",
    "request_id": "AND request_id = :request_id",
    "since": "AND timestamp >= :since",
    "until": "AND timestamp < :until",
    "result": "AND result = :result",
    "status": "AND status = :status",
}
_ORDER: Final = "ORDER BY timestamp DESC, id DESC LIMIT :limit"
_FORGET: Final = (
    "DELETE FROM request_logs WHERE rowid IN (SELECT rowid FROM request_logs WHERE timestamp < ? LIMIT ?)"
)
_EVERY: Final = 60.0  # seconds between looks for records that are too old
_SOME: Final = 5000  # forgotten at a time, so that nobody waits long
_PRIMARY: Final = 0xFF  # of an error code; the rest tells more of the same error
_PAUSE: Final = 0.02
_DAY: Final = 86_400_000  # milliseconds

T = TypeVar("T")


class SqliteStore:
    """A `Store` in a file. Its work is done in a thread of its own."""

    def __init__(
        self,
        path: Path,
        *,
        keep_days: float | None = None,
        patience: float = 4.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Name the file.

        Args:
            path: made when it is missing, with its folder.
            keep_days: older records are removed; None: never.
            patience: seconds that other workers have to finish writing.
            clock: seconds since 1970.
        """
        self._path, self._keep_days, self._patience, self._clock = path, keep_days, patience, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal-sqlite")
        self._db: sqlite3.Connection | None = None
        self._forget_at = 0.0

    async def open(self) -> None:
        """Open the file and make what is missing in it."""
        await self._in_thread(self._open)

    async def write(self, records: Sequence[Record]) -> int:
        """Store a batch in one transaction: all of it or nothing."""
        await self._in_thread(lambda: self._write(records))
        return 0

    async def read(self, query: Query) -> AsyncIterator[Record]:
        """Give matching records, newest first, as they were when the reading began."""
        wanted = _parameters(query)
        words = [_SELECT, *(text for name, text in _CONDITIONS.items() if wanted[name] is not None), _ORDER]
        with closing(await self._in_thread(self._connect)) as db:
            cursor = await self._in_thread(lambda: db.execute("\n".join(words), wanted))
            while rows := await self._in_thread(lambda: cursor.fetchmany(1000)):
                for values in rows:
                    yield record_of_row(values)

    async def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            await self._in_thread(self._db.close)
            self._db = None
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.OperationalError as error:
            raise StoreError(f"journal {self._path} cannot be used now: {error}; look at the disk") from error
        except sqlite3.DatabaseError as error:
            raise AssayError(f"journal {self._path} is no SQLite file: {error}; name another file") from error
        except OSError as error:
            raise AssayError(
                f"journal {self._path} cannot be made: {error.strerror or error}; name another file"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=self._patience, check_same_thread=False)

    def _open(self) -> None:
        if self._db is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._connect()
        end = time.monotonic() + self._patience
        while True:
            try:
                self._db.executescript(_SCHEMA)
            except sqlite3.OperationalError as error:
                # SQLite itself does not wait while another worker turns the same new file to WAL.
                if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    def _write(self, records: Sequence[Record]) -> None:
        if self._db is None:
            raise sqlite3.OperationalError("it is not open")
        with self._db:
            self._db.executemany(_INSERT, [row(record) for record in records])
            self._forget(self._db)

    def _forget(self, db: sqlite3.Connection) -> None:
        now = self._clock()
        if self._keep_days is None or now < self._forget_at:
            return
        oldest = 1000 * now - self._keep_days * _DAY
        gone = db.execute(_FORGET, (oldest, _SOME)).rowcount
        self._forget_at = now if gone == _SOME else now + _EVERY


def _parameters(query: Query) -> dict[str, Any]:
    return {
        "client_id": query.client_id,
        "request_id": query.request_id,
        "result": query.result,
        "status": query.status,
        "since": query.since and since_epoch(query.since),
        "until": query.until and since_epoch(query.until),
        "limit": -1 if query.limit is None else query.limit,
    }
