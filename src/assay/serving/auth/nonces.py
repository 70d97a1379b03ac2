"""Remember the nonces of signed requests in memory, in SQLite and in Redis, so that none can be replayed.

Only nonces of valid signatures are stored. They are kept for twice the allowed clock skew, since the timestamp of a
request may lie that far in the future.
"""

import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from assay.serving.auth import AccessDeniedError

_MAX_NONCES_PER_KEY = 100_000
"""1.5 times those of the gold tier in ten minutes."""


class NonceStore(Protocol):
    """Stores the nonces of signed requests."""

    async def add(self, key_id: str, nonce: str) -> bool:
        """Store a nonce of a key, and return whether it is used for the first time.

        Raises:
            AccessDeniedError: 429, the key has used more nonces than can be stored.
        """


class MemoryNonceStore:
    """Nonces of this process only."""

    def __init__(self, seconds: float, clock: Callable[[], float], max_per_key: int = _MAX_NONCES_PER_KEY) -> None:
        self._seconds, self._clock, self._max_per_key = seconds, clock, max_per_key
        self._ends: dict[str, OrderedDict[bytes, float]] = {}

    async def add(self, key_id: str, nonce: str) -> bool:
        """Store a nonce; return whether it is new."""
        now, ends = self._clock(), self._ends.setdefault(key_id, OrderedDict())
        # All are kept equally long, so the oldest come first.
        while ends and next(iter(ends.values())) <= now:
            ends.popitem(last=False)
        digest = blake2b(nonce.encode(), digest_size=16).digest()
        if digest in ends:
            return False
        if len(ends) >= self._max_per_key:
            # Dropping one early would allow a replay.
            wait = int(next(iter(ends.values())) - now) + 1
            raise AccessDeniedError(429, "Too many signed requests; try again later", {"Retry-After": str(wait)})
        ends[digest] = now + self._seconds
        return True


NONCES_FILE = "nonces.sqlite"
_log = logging.getLogger(__name__)
_CREATE_TABLE_SQL = "CREATE TABLE IF NOT EXISTS nonces (digest BLOB PRIMARY KEY, ends REAL NOT NULL) WITHOUT ROWID"
# A known nonce counts as new when it has expired.
_INSERT_SQL = (
    "INSERT INTO nonces VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET ends = excluded.ends WHERE nonces.ends <= ?"
)
_SWEEP_SECONDS = 60.0
_LOCK_TIMEOUT = 0.05
"""Seconds that a request waits for another worker's write, which takes a tenth of a millisecond."""


class FileNonceStore:
    """Nonces in an SQLite file, shared by all workers of this machine and kept over restarts.

    If the file cannot be written (read-only folder, full disk), each process keeps its own nonces.
    """

    def __init__(self, path: Path, local: MemoryNonceStore, seconds: float, wall: Callable[[], float]) -> None:
        """`local` is checked first and bounds the nonces per key; `wall` returns seconds since 1970."""
        self._path, self._local, self._seconds, self._wall = path, local, seconds, wall
        self._database: sqlite3.Connection | None = None
        self._swept = float("-inf")
        self._failed = False

    async def add(self, key_id: str, nonce: str) -> bool:
        """Store a nonce; return whether it is new."""
        if not await self._local.add(key_id, nonce):
            return False
        try:
            known = not self._add(blake2b(f"{key_id} {nonce}".encode(), digest_size=16).digest())
        except (sqlite3.Error, OSError) as error:
            if not self._failed:
                _log.warning("%s: %s; every worker remembers its own nonces", self._path, error)
            self._failed, known = True, False
        return not known

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _add(self, digest: bytes) -> bool:
        """Insert a nonce and return whether it was new; blocks for about 0.1 ms."""
        database, now = self._database or self._open(), self._wall()
        if now - self._swept >= _SWEEP_SECONDS:
            self._swept = now
            database.execute("DELETE FROM nonces WHERE ends <= ?", (now,))
        return database.execute(_INSERT_SQL, (digest, now + self._seconds, now)).rowcount == 1

    def _open(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        database = sqlite3.connect(self._path, timeout=_LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        # A power cut may lose the last nonces, but most of them have expired when the machine is back.
        database.execute("PRAGMA synchronous = OFF")
        database.execute(_CREATE_TABLE_SQL)
        self._database = database
        return database


if TYPE_CHECKING:
    from assay.serving.auth.redis_client import ReconnectingRedis

_ADD_SCRIPT = """
if redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[1]) then return 1 end
if redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GETRANGE', KEYS[1], 0, 1) == '1' then
  return 0
end
redis.call('SET', KEYS[1], 1, 'EX', ARGV[1])
return 2
"""
_KNOWN, _CORRUPT = 0, 2


class RedisNonceStore:
    """Nonces in Redis, shared by all machines; while it is unavailable, those of this machine.

    A Redis that loses its data, or a corrupt value, makes a nonce count as new again on another machine.
    """

    def __init__(self, client: "ReconnectingRedis", local: NonceStore, seconds: float) -> None:
        self._client, self._local, self._seconds = client, local, seconds
        self._script = client.redis.register_script(_ADD_SCRIPT)

    async def add(self, key_id: str, nonce: str) -> bool:
        """Store a nonce; return whether it is new."""
        if not await self._local.add(key_id, nonce):
            return False
        stored = await self._client.run(lambda: self._store(key_id, nonce))
        return stored is not False

    async def _store(self, key_id: str, nonce: str) -> bool:
        name, lasts = f"assay:{{{key_id}}}:nonce:{nonce}", int(self._seconds) + 1
        found = cast("int", await self._script(keys=[name], args=[lasts]))
        if found == _CORRUPT:
            self._client.report_corrupt("nonces")
        return found != _KNOWN
