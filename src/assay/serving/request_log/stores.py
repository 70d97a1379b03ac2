"""The database interface of the request log and its SQLite implementation."""

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from assay.core.errors import AssayError, UsageError
from assay.core.files import require_regular_file
from assay.serving.request_log.serialization import epoch_milliseconds, from_row, to_row
from assay.serving.request_record import RequestRecord


class StoreUnavailableError(AssayError):
    """The database is unavailable or rejects writes temporarily; write again later."""


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """A selection of records; None means no restriction."""

    client_id: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    """Inclusive, with time zone."""
    until: datetime | None = None
    """Exclusive, with time zone."""
    result: str | None = None
    status: int | None = None
    limit: int | None = None
    """1 or more."""


class RecordStore(Protocol):
    """A database of records."""

    async def open(self) -> None:
        """Connect, and create missing tables and indexes. May be called again after an error.

        Raises:
            StoreUnavailableError: the database is unavailable.
            AssayError: the address is invalid.
        """

    async def write(self, records: Sequence[RequestRecord]) -> int:
        """Store a batch, skipping records whose `id` is stored already; return how many can never be stored.

        Raises:
            StoreUnavailableError: none, some or all of the batch may be stored.
        """

    def read(self, query: RecordQuery) -> AsyncIterator[RequestRecord]:
        """Yield matching records, newest first, times in whole milliseconds; may raise `StoreUnavailableError`."""

    async def close(self) -> None:
        """Close all connections."""


_SCHEMA_SQL: Final = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS request_logs (
        id TEXT PRIMARY KEY, request_id TEXT NOT NULL, timestamp INTEGER NOT NULL, client_id TEXT NOT NULL,
        size INTEGER, format TEXT, width INTEGER, height INTEGER,
        result TEXT, confidence REAL, unknown INTEGER, processing_time REAL NOT NULL,
        model TEXT NOT NULL, model_version TEXT NOT NULL, cache_hit INTEGER NOT NULL, status INTEGER NOT NULL,
        error TEXT, region TEXT
    );
    CREATE INDEX IF NOT EXISTS request_logs_by_client ON request_logs (client_id, timestamp);
    CREATE INDEX IF NOT EXISTS request_logs_by_time ON request_logs (timestamp);
    CREATE INDEX IF NOT EXISTS request_logs_by_request ON request_logs (request_id);
"""
_INSERT_SQL: Final = """
    INSERT INTO request_logs (
        id, request_id, timestamp, client_id, size, format, width, height, result, confidence, unknown,
        processing_time, model, model_version, cache_hit, status, error, region
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
_SELECT_SQL: Final = """
    SELECT id, request_id, timestamp, client_id, size, format, width, height, result, confidence, unknown,
        processing_time, model, model_version, cache_hit, status, error, region
    FROM request_logs WHERE TRUE
"""
_CONDITIONS_SQL: Final = {
    "client_id": "AND client_id = :client_id",
    "request_id": "AND request_id = :request_id",
    "since": "AND timestamp >= :since",
    "until": "AND timestamp < :until",
    "result": "AND result = :result",
    "status": "AND status = :status",
}
_ORDER_SQL: Final = "ORDER BY timestamp DESC, id DESC LIMIT :limit"
_PURGE_SQL: Final = (
    "DELETE FROM request_logs WHERE rowid IN (SELECT rowid FROM request_logs WHERE timestamp < ? LIMIT ?)"
)
_PURGE_INTERVAL: Final = 60.0  # seconds between deletions of expired records
_PURGE_BATCH: Final = 5000  # rows per transaction, so that writers do not wait long
_PRIMARY_CODE_MASK: Final = 0xFF  # of an extended error code
_RETRY_DELAY: Final = 0.02
_MILLISECONDS_PER_DAY: Final = 86_400_000  # milliseconds

_T = TypeVar("_T")


class SqliteStore:
    """A `RecordStore` in an SQLite file, accessed in its own thread."""

    def __init__(
        self,
        path: Path,
        *,
        keep_days: float | None = None,
        patience: float = 4.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Store the path; the file and its folder are created when opened.

        Records older than `keep_days` are removed. `patience` is how many seconds other workers have to finish writing;
        `clock` returns seconds since 1970.
        """
        self._path, self._keep_days, self._patience, self._clock = path, keep_days, patience, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="request-log-sqlite")
        self._db: sqlite3.Connection | None = None
        self._forget_at = 0.0

    async def open(self) -> None:
        """Open the file, and create missing tables."""
        await self._in_thread(self._open)

    async def write(self, records: Sequence[RequestRecord]) -> int:
        """Store a batch in one transaction."""
        await self._in_thread(lambda: self._write(records))
        return 0

    async def read(self, query: RecordQuery) -> AsyncIterator[RequestRecord]:
        """Yield matching records, newest first, as they were when reading began."""
        wanted = _parameters(query)
        words = [_SELECT_SQL, *(text for name, text in _CONDITIONS_SQL.items() if wanted[name] is not None), _ORDER_SQL]
        with closing(await self._in_thread(self._connect)) as db:
            cursor = await self._in_thread(lambda: db.execute("\n".join(words), wanted))
            while rows := await self._in_thread(lambda: cursor.fetchmany(1000)):
                for values in rows:
                    yield from_row(values)

    async def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            await self._in_thread(self._db.close)
            self._db = None
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.OperationalError as error:
            raise StoreUnavailableError(f"request log {self._path} is unavailable: {error}; check the disk") from error
        except sqlite3.DatabaseError as error:
            raise AssayError(f"request log {self._path} is not an SQLite file: {error}; give another file") from error
        except OSError as error:
            raise AssayError(
                f"request log {self._path} cannot be created: {error.strerror or error}; give another file"
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
                self._db.executescript(_SCHEMA_SQL)
                self._add_region(self._db)
            except sqlite3.OperationalError as error:
                # SQLite itself does not wait while another worker turns the same new file to WAL.
                if error.sqlite_errorcode & _PRIMARY_CODE_MASK != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(_RETRY_DELAY)
            else:
                return

    def _add_region(self, db: sqlite3.Connection) -> None:
        """Add the column that files of version 0.2.0 lack."""
        with db:
            db.execute("BEGIN IMMEDIATE")  # another worker may be adding it
            if "region" not in {row[1] for row in db.execute("PRAGMA table_info(request_logs)")}:
                db.execute("ALTER TABLE request_logs ADD COLUMN region TEXT")

    def _write(self, records: Sequence[RequestRecord]) -> None:
        if self._db is None:
            raise sqlite3.OperationalError("it is not open")
        with self._db:
            self._db.executemany(_INSERT_SQL, [to_row(record) for record in records])
            self._forget(self._db)

    def _forget(self, db: sqlite3.Connection) -> None:
        now = self._clock()
        if self._keep_days is None or now < self._forget_at:
            return
        oldest = 1000 * now - self._keep_days * _MILLISECONDS_PER_DAY
        gone = db.execute(_PURGE_SQL, (oldest, _PURGE_BATCH)).rowcount
        self._forget_at = now if gone == _PURGE_BATCH else now + _PURGE_INTERVAL


def _parameters(query: RecordQuery) -> dict[str, Any]:
    return {
        "client_id": query.client_id,
        "request_id": query.request_id,
        "result": query.result,
        "status": query.status,
        "since": query.since and epoch_milliseconds(query.since),
        "until": query.until and epoch_milliseconds(query.until),
        "limit": -1 if query.limit is None else query.limit,
    }


if TYPE_CHECKING:
    from assay.serving.request_log.mongo_store import MongoStore

_MONGO_SCHEMES = ("mongodb://", "mongodb+srv://")
_SQLITE_SCHEME = "sqlite:///"


def make_store(url: str, *, keep_days: float | None = None, must_exist: bool = False) -> RecordStore:
    """Return the store at an address; it is not opened yet.

    Args:
        url: mongodb://HOST/DATABASE, mongodb+srv://..., sqlite:///PATH, or the path of an SQLite file.
        keep_days: older records are removed; None: never.
        must_exist: raise an error if the file is missing, instead of creating it.

    Raises:
        UsageError: the address is invalid, or that of a pipe, a socket or a device.
        AssayError: the file is missing.
    """
    if url.startswith(_MONGO_SCHEMES):
        # Its import costs a tenth of a second and 7 MB.
        kind: type[MongoStore] = import_module("assay.serving.request_log.mongo_store").MongoStore
        return kind(SecretStr(url), keep_days=keep_days)
    if "://" in url and not url.startswith(_SQLITE_SCHEME):
        raise UsageError(f"request log {url.partition('://')[0]}://...: give mongodb://HOST/DATABASE, or a file")
    path = Path(url.removeprefix(_SQLITE_SCHEME))
    require_regular_file(path)
    if path.is_dir():
        raise UsageError(f"request log {path} is a folder: give a file")
    if must_exist and not path.is_file():
        raise AssayError(f"request log {path} does not exist; give the file or URL that `assay serve` writes to")
    return SqliteStore(path, keep_days=keep_days)


def spool_folder_name(url: str) -> str:
    """Return the name of the spool folder of a database, unique for each and without secrets."""
    if not url.startswith(_MONGO_SCHEMES):
        url = str(Path(url.removeprefix(_SQLITE_SCHEME)).absolute())
    parts = urlsplit(url)
    place = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    return hashlib.sha256(place.encode()).hexdigest()[:16]
